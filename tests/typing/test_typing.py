"""The public API as a type checker sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(HERE.glob("typed_*.py")), ids=lambda path: path.stem)
def test_types_are_what_the_documentation_promises(path: Path) -> None:
    # In strict mode an unneeded `type: ignore` is an error, so the mistakes are checked too.
    run = subprocess.run(
        [sys.executable, "-m", "mypy", str(path)],
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
