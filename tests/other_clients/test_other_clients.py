"""The programs of docs/guides/other-clients.md, each in an environment with just its client.

On request only (`make clients`): the first run installs the clients below `.clients/`, which takes
minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tabbyapi import LocalServer

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "guides" / "other-clients.md"
HOME = ROOT / ".clients"
PROGRAM = re.compile(
    r"<!-- client: (?P<packages>[^\n]+) -->\n"
    r"```(?P<language>python|javascript)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
PROGRAMS = [
    pytest.param(m["packages"], m["language"], m["code"], id=m["packages"])
    for m in PROGRAM.finditer(PAGE.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    from tabbyapi import LocalServer

    with LocalServer(n_ctx=2048) as running:
        yield running


def run(command: list[str], seconds: float, **options: object) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, **options
    )  # type: ignore[call-overload]
    assert result.returncode == 0, result.stderr[-2000:]
    return str(result.stdout)


def python_with(packages: str) -> Path:
    """The interpreter of an environment that holds these packages."""
    folder = HOME / re.sub(r"\W+", "_", packages)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / ".installed"
    if not done.exists():
        run([sys.executable, "-m", "venv", str(folder)], 120)
        wanted = packages.replace("py-tabbyapi", f"-e {ROOT}").split()
        run([str(python), "-m", "pip", "install", "-q", *wanted], 900)
        done.touch()
    return python


def node_with(packages: str) -> Path:
    """A folder where Node finds these packages."""
    folder = HOME / "node"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in packages.split() if not (folder / "node_modules" / name).exists()]
    if missing:
        run(["npm", "install", "--no-save", "--silent", *missing, "zod"], 300, cwd=folder)
    return folder


@pytest.mark.parametrize(("packages", "language", "code"), PROGRAMS)
def test_the_program_of_the_page_runs(
    server: LocalServer, tmp_path: Path, packages: str, language: str, code: str
) -> None:
    environment = {
        **os.environ,
        "TABBY_API_ENDPOINT": server.url,
        "TABBY_API_KEY": server.api_key,
        "PYTHONIOENCODING": "utf-8",
    }
    if language == "python":
        program = tmp_path / "program.py"
        command = [str(python_with(packages)), str(program)]
    else:
        program = node_with(packages.removeprefix("node ")) / "program.mjs"
        command = ["node", str(program)]
    program.write_text(code, encoding="utf-8")
    assert "Paris" in run(command, 120, env=environment, cwd=tmp_path)
