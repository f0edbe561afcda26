"""Answers as a blocking connection reads them: a head, then a body taken out of its framing.

`http.client` would do it at several times the cost (it parses a head as an e-mail, and reads line
by line), loses what had arrived of a chunk when the rest fails, and takes 103 for the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.client import (
    BadStatusLine,
    HTTPException,
    IncompleteRead,
    LineTooLong,
    RemoteDisconnected,
)

from .chunked import Dechunker
from .wire import Wire

__all__ = ["Reply", "read_reply"]

_LINES = 100  # of a head; and as many interim answers
_BLANK = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([01])[ \t]+([1-9]\d\d)(?:[ \t].*)?")
_BODILESS = (204, 304)


class Reply:
    """The answer on a wire.

    Attributes:
        status: of its head.
        headers: with names in lower case; those given several times are joined by ", ".
        done: its body is over.
    """

    __slots__ = ("_frames", "_held", "_keep", "_left", "_wire", "done", "headers", "status")

    def __init__(
        self, wire: Wire, version: str, status: int, headers: Mapping[str, str], held: bytes
    ) -> None:
        self._wire = wire
        self._held = held
        self.status = status
        self.headers = headers
        codings = headers.get("transfer-encoding", "").lower()
        chunked = codings.endswith("chunked") and status not in _BODILESS
        self._frames = Dechunker() if chunked else None
        self._left = 0 if status in _BODILESS else None if chunked else _length(headers)
        options = headers.get("connection", "").lower()
        self._keep = "close" not in options and (version == "1" or "keep-alive" in options)
        self.done = not chunked and self._left == 0

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry a further request."""
        rest = self._held if self._frames is None else self._frames.rest
        return self.done and self._keep and not rest and not self._wire.cut_short

    def read(self, timeout: float | None) -> bytes:
        """The next bytes of the body, at least one; b"" at its end.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            HTTPException: the framing is broken, or there is no end.
            OSError: the connection broke, or was closed by another thread.
        """
        if self.done:
            return b""
        frames = self._frames
        if frames is not None and frames.failure is not None:
            raise HTTPException(f"its framing is broken: {frames.failure}")
        self._wire.expect(timeout)
        return self._counted() if frames is None else self._dechunked(frames)

    def _dechunked(self, frames: Dechunker) -> bytes:
        while True:
            data, self._held = self._held or self._wire.receive(), b""
            if not data:
                raise IncompleteRead(b"")
            piece = frames.feed(data)
            self.done = frames.done
            if piece or self.done:
                return piece
            if frames.failure is not None:
                raise HTTPException(f"its framing is broken: {frames.failure}")

    def _counted(self) -> bytes:
        data, self._held = self._held or self._wire.receive(), b""
        left = self._left
        if left is None:
            self._keep = False
            self.done = not data
            return data
        if not data:
            raise IncompleteRead(b"", left)
        if len(data) > left:
            data, self._held = data[:left], data[left:]
        self._left = left - len(data)
        self.done = not self._left
        return data


def read_reply(wire: Wire, limit: int) -> Reply:
    """Reads a head, passing over interim ones.

    Args:
        wire: where it comes from.
        limit: bytes that a line of it may have.

    Raises:
        RemoteDisconnected: the connection ended before anything came.
        HTTPException: it is no head of HTTP/1, is cut off, or larger than the limits.
        TimeoutError, OSError: as `Wire.receive`.
    """
    held = b""
    for _ in range(_LINES):
        head, held = _head(wire, held, limit)
        first, *lines = head.decode("latin-1").split("\n")
        found = _STATUS.fullmatch(first.rstrip("\r"))
        if found is None:
            raise BadStatusLine(first[:200])
        version, status = found[1], int(found[2])
        if status >= 200 or status == 101:
            return Reply(wire, version, status, _fields(lines), held)
    raise HTTPException(f"got more than {_LINES} interim answers")


def _head(wire: Wire, held: bytes, limit: int) -> tuple[bytes, bytes]:
    """A head without its last line ends, and what came behind it."""
    while True:
        blank = _BLANK.search(held)
        if blank is not None and blank.start() <= limit:  # so is each of its lines
            return held[: blank.start()], held[blank.end() :]
        lines = held[: None if blank is None else blank.start()].split(b"\n")
        if max(map(len, lines)) > limit:
            raise LineTooLong(f"header: more than {limit:,} bytes")
        if len(lines) > _LINES + 1:
            raise HTTPException(f"got more than {_LINES} headers")
        if blank is not None:
            return held[: blank.start()], held[blank.end() :]
        if not held.startswith(b"HTTP/"[: len(held)]):
            raise BadStatusLine(repr(held[:200]))
        data = wire.receive()
        if not data:
            if held:
                raise HTTPException("its head is cut off")
            raise RemoteDisconnected("Remote end closed connection without response")
        held += data


def _fields(lines: list[str]) -> dict[str, str]:
    """The fields of a head.

    Raises:
        HTTPException: a line is none, or there are too many.
    """
    if len(lines) > _LINES:
        raise HTTPException(f"got more than {_LINES} headers")
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:  # a value folded over several lines
            fields[name] = f"{fields[name]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip()
        if not colon or not name or name != name.strip():
            raise HTTPException("a line of its head is no header")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _length(headers: Mapping[str, str]) -> int | None:
    """The body's length in bytes; None where its end is the connection's.

    Raises:
        HTTPException: it says several.
    """
    given = {text.strip() for text in headers.get("content-length", "").split(",")}
    if len(given) > 1:
        raise HTTPException("it has several content lengths")
    text = given.pop()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
