"""The `tabbyapi` program itself: help, version, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tabbyapi

from .scripted import run

_HEAVY = "msgspec urllib3 aiohttp asyncio xllamacpp starlette uvicorn rich prompt_toolkit numpy PIL"


def test_help_lists_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("chat", "ask", "batch", "serve"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("command", ["chat", "ask", "batch", "serve"])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"tabbyapi {command}" in done.stdout


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"tabbyapi, version {tabbyapi.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from tabbyapi.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print(sorted(set({_HEAVY.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path, "chatt")
    assert done.returncode == 2
    assert "No such command 'chatt'" in done.stderr
