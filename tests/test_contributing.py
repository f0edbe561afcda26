"""CONTRIBUTING.md and tests/README.md name files and folders that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Where a path in the table is looked up, in this order.
BASES = [ROOT / "src" / "tabbyapi", ROOT]


def named(page: Path, column: int) -> Iterator[str]:
    """The files and folders that a column of a page's tables names."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            cell = line.split(" | ")[column]
            yield from re.findall(r"`([\w./-]+(?:\.\w+|/))`", cell)


CHANGES = sorted(set(named(ROOT / "CONTRIBUTING.md", 1)))
TESTED = sorted(set(named(ROOT / "tests" / "README.md", 0)))


def test_the_tables_name_paths() -> None:
    assert "types/params.py" in CHANGES
    assert "server/" in TESTED


@pytest.mark.parametrize("path", CHANGES)
def test_each_change_is_made_where_contributing_says(path: str) -> None:
    assert any((base / path).exists() for base in BASES)


@pytest.mark.parametrize("path", TESTED)
def test_each_kind_of_test_is_where_its_readme_says(path: str) -> None:
    assert (ROOT / "tests" / path).exists()


def test_each_folder_of_tests_is_in_its_readme() -> None:
    folders = {f"{each.parent.name}/" for each in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - set(TESTED) == set()
