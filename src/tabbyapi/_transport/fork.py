"""The id of this process, kept current over forks without a system call for each look.

An object that stores `fork.pid` when it is made can tell later that it is in a forked child. One
that holds something that a child must not use is `watch`ed, and told.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["pid", "watch"]

pid = os.getpid()


class _Forkable(Protocol):
    def forked(self) -> None: ...


_watched: weakref.WeakSet[_Forkable] = weakref.WeakSet()


def watch(it: _Forkable) -> None:
    """Call `it.forked()` in each child process that is forked while the object lives."""
    _watched.add(it)


def _after_fork() -> None:
    global pid
    pid = os.getpid()
    for it in list(_watched):
        it.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
