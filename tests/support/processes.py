"""The processes of a server that runs, looked up in /proc (Linux)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["children", "engines", "renderers"]


def children(pid: int, module: str) -> list[int]:
    """Children of a process that run `python -m module`."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if module.encode() in command:
            found.append(int(child))
    return found


def engines(pid: int) -> list[int]:
    """The engines of a server."""
    return children(pid, "tabbyapi.server.engine.child")


def renderers(pid: int) -> list[int]:
    """The processes in which a server renders prompts."""
    return children(pid, "tabbyapi.server.prompt.child")
