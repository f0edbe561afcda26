"""Lines at the bottom of the terminal that may still change, redrawn without flicker.

A redraw writes only from the first line that differs, in one write, and only what was added if
the last line merely grew: a token costs a few bytes, also over a slow link. Lines that no longer
fit on the screen have scrolled away and stay as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from wcwidth import wcswidth

__all__ = ["Region", "terminal_size", "width_of"]

# Synchronized output: a terminal shows the frame when it is complete, or ignores this.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal, 80 by 24 where it does not tell."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return 80, 24
    return max(size.columns, 1) if size.columns else 80, max(size.lines, 2) if size.lines else 24


def width_of(line: str) -> int:
    """Columns that a line takes on the screen, without its escape sequences."""
    plain = _ESCAPES.sub("", line)
    return len(plain) if plain.isascii() else max(0, wcswidth(plain))


class Region:
    """The lines below everything that is final.

    The cursor rests at the end of the last line shown. Lines must fit the terminal's width and
    leave no colour switched on.
    """

    def __init__(
        self, write: Callable[[str], object], size: Callable[[], tuple[int, int]] = terminal_size
    ) -> None:
        self._write = write
        self._size = size
        self._shown: list[str] = []
        self._gone = 0  # leading lines that have scrolled off the screen for good
        self._width = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those shown before."""
        columns, rows = self._size()
        out = self._after_resize(columns, len(lines))
        new = list(lines[self._gone :])
        out += _difference(self._shown, new)
        height = max(1, rows - 1)
        if len(new) > height:
            self._gone += len(new) - height
            new = new[-height:]
        self._shown = new
        if out:
            self._write(f"{_BEGIN}{out}{_END}" if "\x1b[J" in out else out)

    def leave(self) -> None:
        """Leave what is shown where it is; it is shown once more below, with the next lines."""
        if self._shown or self._gone:
            self._write("\r\n")
        self._shown, self._gone = [], 0

    def settle(self, lines: Sequence[str]) -> None:
        """Show these lines, which are final, and begin anew below them."""
        self.draw(lines)
        self.leave()

    def _after_resize(self, columns: int, count: int) -> str:
        """Erase what the terminal has rewrapped; the caller draws it again."""
        before, self._width = self._width, columns
        if before in (0, columns) or not self._shown:
            return ""
        taken = sum(max(1, -(-width_of(line) // columns)) for line in self._shown)
        share = self._gone / (self._gone + len(self._shown))
        self._gone = min(count, round(count * share))
        self._shown = []
        return _up(taken - 1) + "\r\x1b[J"


def _difference(old: list[str], new: list[str]) -> str:
    """Output that turns the old lines, cursor at their end, into the new ones."""
    same = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            break
        same += 1
    if same == len(old) == len(new):
        return ""
    if same == len(old):  # lines were only added
        return ("\r\n" if old else "") + "\r\n".join(new[same:])
    if same == len(old) - 1 and same < len(new) and new[same].startswith(old[same]):
        return "\r\n".join([new[same][len(old[same]) :], *new[same + 1 :]])
    return _up(len(old) - 1 - same) + "\r\x1b[J" + "\r\n".join(new[same:])


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows > 0 else ""
