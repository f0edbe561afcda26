"""What the terminal does with keys while no prompt reads them. Nothing where it is not POSIX."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:
    _POSIX = False
else:
    _POSIX = True

__all__ = ["quiet", "typed_ahead"]


def typed_ahead() -> contextlib.AbstractContextManager[None]:
    """What is typed before the next prompt reads is to it as if it were typed then.

    A terminal makes a line feed of Enter, and that would break the line instead of sending it.
    """
    return _changed(0, "ICRNL")


def quiet() -> contextlib.AbstractContextManager[None]:
    """What is typed waits for the next prompt, instead of showing inside the answer."""
    return _changed(3, "ECHO", "ICANON")  # Ctrl-C stays a signal


@contextlib.contextmanager
def _changed(field: int, *flags: str) -> Iterator[None]:
    """Takes flags out of a field of the terminal's settings, for a while."""
    if not _POSIX or not os.isatty(sys.stdin.fileno()):
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    changed = termios.tcgetattr(terminal)
    for flag in flags:
        changed[field] &= ~getattr(termios, flag)
    termios.tcsetattr(terminal, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
