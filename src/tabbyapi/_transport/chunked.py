"""Takes the framing of `Transfer-Encoding: chunked` off a body, a whole read at a time.

TabbyAPI sends each event in a chunk of its own. HTTP libraries hand such chunks out one by one,
at several times the cost of decoding the event; here a read costs one loop, and gives one piece.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["Dechunker"]

_LINE = 4096  # bytes of a chunk's first line, extensions included
_SHORT = 8  # bytes of one that is kept in mind
_TRAILERS = 65_536
_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_END = b"\r\n"


class Dechunker:
    """`feed` it what was read, in pieces of any size; it gives the body's bytes in it.

    Attributes:
        done: the body is over.
        rest: what came after its end.
        failure: what is wrong with the framing, once something is. Bytes before it are given out.
    """

    __slots__ = ("_between", "_held", "_left", "_trailers", "done", "failure", "rest")

    def __init__(self) -> None:
        self._left = 0  # of the chunk being read, with its line end
        self._held = b""  # an unfinished line
        self._between = True  # chunks
        self._trailers = -1  # bytes of them; -1 before the last chunk
        self.done = False
        self.rest = b""
        self.failure: str | None = None

    def feed(self, data: bytes) -> bytes:
        if self._between:  # and often a read is one chunk: then it is what comes of generating
            line_end = data.find(_END, 0, _SHORT)
            size = _short_size(data[:line_end]) if line_end > 0 else None
            if size and len(data) == line_end + size + 4 and data.endswith(_END):
                return data[line_end + 2 : -2]
        piece = self._feed(data)
        over = self._trailers >= 0 or self.failure is not None
        self._between = not (over or self._left or self._held)
        return piece

    def _feed(self, data: bytes) -> bytes:
        if self.done:
            self.rest += data
        if self.done or self.failure is not None:
            return b""
        left = self._left
        pieces: list[bytes] = []
        if left:
            body, start = max(left - 2, 0), min(left, len(data))
            pieces.append(data[:body])
            if not _END[-left:].startswith(data[body:start]):
                return self._failed("a chunk is longer than it says", pieces)
            self._left = left - start
            if self._left:
                return pieces[0]
        else:
            start = 0
            if self._held:
                data, self._held = self._held + data, b""
        total, find = len(data), data.find
        while self._trailers < 0:
            line_end = find(_END, start)
            if line_end < 0:
                return self._hold(data[start:], pieces)
            line = data[start:line_end]
            size = _short_size(line) if line_end - start < _SHORT else _size(line)
            start = line_end + 2
            if not size:
                if size is None:
                    return self._failed("a chunk does not begin with its size", pieces)
                self._trailers = 0
                break
            end = start + size
            pieces.append(data[start:end])
            start = end + 2
            if start > total:
                if not _END.startswith(data[end:]):
                    return self._failed("a chunk is longer than it says", pieces)
                self._left = start - total
                return b"".join(pieces)
            if data[end:start] != _END:
                return self._failed("a chunk is longer than it says", pieces)
        self._end(data, start)
        return b"".join(pieces)

    def _end(self, data: bytes, start: int) -> None:
        """Skips the trailers, and the blank line behind them."""
        while (line_end := data.find(_END, start)) >= 0:
            self._trailers += line_end - start
            start, empty = line_end + 2, line_end == start
            if empty:
                self.done = True
                self.rest = data[start:]
                return
        self._held = data[start:]
        if self._trailers + len(self._held) > _TRAILERS:
            self.failure = "its trailers are too long"

    def _hold(self, line: bytes, pieces: list[bytes]) -> bytes:
        if len(line) > _LINE:
            return self._failed("a chunk's first line is too long", pieces)
        if line and line[0] not in _DIGITS:
            return self._failed("a chunk does not begin with its size", pieces)
        self._held = line
        return b"".join(pieces)

    def _failed(self, reason: str, pieces: list[bytes]) -> bytes:
        self.failure = reason
        return b"".join(pieces)


def _size(line: bytes) -> int | None:
    """The size in a chunk's first line; None if it has none."""
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not 0 < len(digits) <= 16 or not _DIGITS.issuperset(digits):
        return None
    return int(digits, 16)


_short_size = lru_cache(4096)(_size)
