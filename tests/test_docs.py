"""The documentation is true: its programs run, and so do the examples.

The Python blocks of a page run in order, in one namespace, against a local server that the
environment variables name. A block after `<!-- no-run: reason -->` is only compiled, and so is one
after `<!-- client: package -->`, which tests/other_clients runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tabbyapi import LocalServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(
    r"(?P<no_run><!-- (?:no-run|client): [^\n]+ -->\n)?^```(?:python|py)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
BOUND = 120  # seconds that no program here comes near


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    runs: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Block(match["code"], line, match["no_run"] is None)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def programs(paths: list[Path]) -> list[object]:
    """Parameters of a test that runs these."""
    return [pytest.param(path, id=name_of(path)) for path in paths]


@pytest.fixture(scope="module")
def docs_server(
    smollm: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A server with the default model, and a tiny one for embeddings.

    What a program leaves open is fixed: answers are bounded, and the same each time.
    """
    from tabbyapi import LocalServer

    presets = tmp_path_factory.mktemp("presets")
    (presets / "fixed.yml").write_text(
        "max_tokens: {override: 300}\ntemperature: {override: 0}\n", encoding="utf-8"
    )
    embeddings = {"embeddings_dir": tiny_model.parent, "embeddings": tiny_model.stem}
    with LocalServer(smollm, presets_dir=presets, preset="fixed", **embeddings) as server:
        yield server


@pytest.fixture
def environment(docs_server: LocalServer, tmp_path: Path) -> dict[str, str]:
    """Variables that lead a program to the local server."""
    return {
        **os.environ,
        "TABBY_API_ENDPOINT": docs_server.url,
        "TABBY_API_KEY": docs_server.api_key,
        "TABBY_ADMIN_KEY": docs_server.admin_key,
        "PYTHONWARNINGS": "error::ResourceWarning",
        "PYTHONIOENCODING": "utf-8",
    }


def run(program: Path | str, environment: dict[str, str], folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, program],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=BOUND,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr
    assert "ResourceWarning" not in result.stderr


@pytest.mark.parametrize("page", programs([page for page in PAGES if any(blocks(page))]))
def test_the_programs_of_a_page_run(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    program = []
    for block in blocks(page):
        # Padded with empty lines, so that a traceback names the line of the page.
        source = "\n" * block.line + block.code
        compile(source, name_of(page), "exec")
        if block.runs:
            program.append(source)
    script = tmp_path / "page.py"
    script.write_text(
        f"namespace = {{'__name__': '__main__'}}\n"
        f"for source in {program!r}:\n"
        f"    exec(compile(source, {name_of(page)!r}, 'exec'), namespace)\n",
        encoding="utf-8",
    )
    run(script, environment, tmp_path)


@pytest.mark.parametrize("example", programs(EXAMPLES))
def test_an_example_runs(example: Path, environment: dict[str, str], tmp_path: Path) -> None:
    run(example, environment, tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_says_what_it_shows(example: Path) -> None:
    assert re.match(r'"""[A-Z].+?\."?', example.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [
        target
        for target in targets
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert missing == []


def test_every_block_that_does_not_run_says_why() -> None:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if "no-run" in line:
                assert re.fullmatch(r"<!-- no-run: .{10,} -->", line), f"{page}: {line}"
