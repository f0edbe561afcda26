"""The id of this process, kept current over forks without a system call for each look.

An object that stores `fork.pid` when it is made can tell later that it is in a forked child.
"""

from __future__ import annotations

import os

__all__ = ["pid"]

pid = os.getpid()


def _after_fork() -> None:
    global pid
    pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
