"""Which process this is, known without asking the system each time: what keeps `process.number`
when it is made can tell later whether it is in a fork.
"""

from __future__ import annotations

import os

__all__ = ["number"]

number = os.getpid()


def _forked() -> None:
    global number
    number = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
