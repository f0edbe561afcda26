"""The `tabbyapi` program itself: help, version, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tabbyapi

from .scripted import run

_HEAVY = "urllib3 aiohttp asyncio xllamacpp starlette uvicorn rich prompt_toolkit numpy PIL"

COMMANDS = ["chat", "ask", "batch", "serve", "models", "lora", "templates", "sampling", "tokens"]
COMMANDS += ["embed", "health", "whoami", "config", "env", "completion"]


def test_help_lists_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"tabbyapi {command}" in done.stdout


GROUPS = {
    "models": ["list", "show", "load", "unload", "download"],
    "lora": ["list", "load", "unload"],
    "templates": ["list", "switch", "unload"],
    "sampling": ["list", "switch", "unload"],
    "config": ["show", "path", "set", "unset", "add-server", "remove-server"],
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_of_a_group_has_an_example(tmp_path: Path, group: str) -> None:
    for command in GROUPS[group]:
        done = run(tmp_path, group, command, "--help")
        assert done.returncode == 0
        example = f"tabbyapi {group} {command}"
        assert example in done.stdout.partition("Usage: ")[2].partition("\n")[2]


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands_and_options(tmp_path: Path, shell: str) -> None:
    script = run(tmp_path, "completion", shell).stdout
    assert f"_TABBYAPI_COMPLETE={shell}_complete" in script
    words = {"COMP_WORDS": "tabbyapi ba", "COMP_CWORD": "1" if shell != "fish" else "ba"}
    done = run(tmp_path, **words, _TABBYAPI_COMPLETE=f"{shell}_complete")
    assert "batch" in done.stdout
    words = {
        "COMP_WORDS": "tabbyapi ask --temp",
        "COMP_CWORD": "2" if shell != "fish" else "--temp",
    }
    done = run(tmp_path, **words, _TABBYAPI_COMPLETE=f"{shell}_complete")
    assert "--temperature" in done.stdout
    words = {"COMP_WORDS": "tabbyapi models ", "COMP_CWORD": "2" if shell != "fish" else ""}
    done = run(tmp_path, **words, _TABBYAPI_COMPLETE=f"{shell}_complete")
    assert "download" in done.stdout
