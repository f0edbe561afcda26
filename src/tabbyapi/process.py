"""Which process this is, known without asking the system each time."""

from __future__ import annotations

import os

__all__ = ["is_current"]

_current = os.getpid()


def is_current(number: int) -> bool:
    """Whether this is the process with that number, and no fork of it."""
    return number == _current


def _forked() -> None:
    global _current
    _current = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
