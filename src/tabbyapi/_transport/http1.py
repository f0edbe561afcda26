"""HTTP/1.1 without I/O, for both twins: the head of a request, and the reading of an answer.

A library would do it at several times the cost: `http.client` parses a head as an e-mail and reads
line by line, and aiohttp hands on each chunk of a body by itself. Here a head is one search and a
split, and a read of a body is one loop (see `chunked`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from .chunked import Dechunker
from .request import Request

__all__ = ["HTTPError", "ReplyReader", "RequestHeads"]

_LINES = 100  # of a head; and as many interim answers
_BLANK = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([01])[ \t]+([1-9]\d\d)(?:[ \t].*)?")
_BODILESS = (204, 304)
_KEPT = 16  # heads


class HTTPError(Exception):
    """What has come is no answer of HTTP/1, or not a whole one; the text says why."""


class ReplyReader:
    """Takes one answer off a connection: `feed` it what was received, `end` it with the connection.

    Args:
        limit: bytes that a line of the head may have.

    Attributes:
        status: of its head; 0 until that is read.
        headers: with names in lower case; those given several times are joined by ", ".
        done: its body is over.
        failure: what is wrong with the body's framing, once something is.
    """

    __slots__ = (
        "_frames",
        "_held",
        "_interim",
        "_keep",
        "_left",
        "_limit",
        "done",
        "failure",
        "headers",
        "status",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = b""  # an unfinished head; once done, what came behind the answer
        self._interim = 0
        self._frames: Dechunker | None = None
        self._left: int | None = None  # bytes of the body; None = up to the connection's end
        self._keep = False
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.done = False
        self.failure: str | None = None

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry a further request."""
        rest = self._held or (self._frames is not None and self._frames.rest)
        return self.done and self._keep and not rest

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that are in `data`. Those before a failure are given out.

        Raises:
            HTTPError: the head is none of HTTP/1, or larger than the limits.
        """
        if not self.status:
            data = self._head(data)
        if not data:
            return b""
        if self.done:
            self._held += data
            return b""
        frames = self._frames
        if frames is not None:
            data = frames.feed(data)
            self.done, self.failure = frames.done, frames.failure
            return data
        left = self._left
        if left is not None:
            if len(data) > left:
                data, self._held = data[:left], data[left:]
            self._left = left = left - len(data)
            self.done = not left
        return data

    def check(self) -> None:
        """Sees that the body's framing is sound so far.

        Raises:
            HTTPError: it is not.
        """
        if self.failure is not None:
            raise HTTPError(f"its framing is broken: {self.failure}")

    def end(self) -> None:
        """The connection has ended, and with it perhaps the body.

        Raises:
            HTTPError: the answer is not whole.
        """
        if self.done:
            return
        if not self.status:
            raise HTTPError("its head is cut off" if self._held else "the server disconnected")
        if self._frames is not None or self._left is not None:
            raise HTTPError("its body is cut off")
        self._keep = False
        self.done = True

    def _head(self, data: bytes) -> bytes:
        """Reads a head, passing over interim ones; what came behind it."""
        # The end may lie over the cut between this read and the one before.
        start, held = max(0, len(self._held) - 3), self._held + data
        while True:
            blank = _BLANK.search(held, start)
            if blank is None:
                self._check(held)
                self._held = held
                return b""
            head, held, start = held[: blank.start()], held[blank.end() :], 0
            if len(head) > self._limit:
                self._check(head)
            first, *lines = head.decode("latin-1").split("\n")
            found = _STATUS.fullmatch(first.rstrip("\r"))
            if found is None:
                raise HTTPError(f"it begins with {first[:80]!r}")
            status = int(found[2])
            if status >= 200 or status == 101:
                break
            self._interim += 1
            if self._interim >= _LINES:
                raise HTTPError(f"got more than {_LINES} interim answers")
        self._held = b""
        headers = _fields(lines)
        options = headers.get("connection", "").lower()
        self._keep = "close" not in options and (found[1] == "1" or "keep-alive" in options)
        if status in _BODILESS:
            self._left = 0
        elif headers.get("transfer-encoding", "").lower().endswith("chunked"):
            self._frames = Dechunker()
        else:
            self._left = _length(headers)
        self.done = self._left == 0
        self.status, self.headers = status, headers
        return held

    def _check(self, head: bytes) -> None:
        """Sees that a head, or the beginning of one, may be one."""
        if not head.startswith(b"HTTP/"[: len(head)]):
            raise HTTPError(f"it begins with {head[:80]!r}")
        lines = head.split(b"\n")
        if max(map(len, lines)) > self._limit:
            raise HTTPError(f"a line of its head has more than {self._limit:,} bytes")
        if len(lines) > _LINES + 2:  # the first, and the beginning of the last
            raise HTTPError(f"got more than {_LINES} headers")


def _fields(lines: list[str]) -> dict[str, str]:
    """The fields of a head.

    Raises:
        HTTPError: a line is none, or there are too many.
    """
    if len(lines) > _LINES:
        raise HTTPError(f"got more than {_LINES} headers")
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:  # a value folded over several lines
            fields[name] = f"{fields[name]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip()
        if not colon or not name or name != name.strip():
            raise HTTPError("a line of its head is no header")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _length(headers: Mapping[str, str]) -> int | None:
    """The body's length in bytes; None where its end is the connection's.

    Raises:
        HTTPError: it says several.
    """
    text = headers.get("content-length", "")
    if "," in text:
        given = {part.strip() for part in text.split(",")}
        if len(given) > 1:
            raise HTTPError("it has several content lengths")
        text = given.pop()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


class RequestHeads:
    """The heads of requests to one server."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._prefix = len(base_url) - len(parts.path)
        self._host = _authority(parts.hostname or "", parts.port, parts.scheme)
        # A client has one dict of headers for each class of route, and asks with it again.
        self._kept: dict[int, tuple[Mapping[str, str], str]] = {}

    def of(self, request: Request) -> bytes:
        headers = request.headers
        kept = self._kept.get(id(headers))
        if kept is None or kept[0] is not headers:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            kept = self._kept[id(headers)] = headers, self._lines(headers)
        size = "" if request.body is None else f"Content-Length: {len(request.body)}\r\n"
        path = request.url[self._prefix :]
        return f"{request.method} {path} HTTP/1.1\r\n{kept[1]}{size}\r\n".encode()

    def _lines(self, headers: Mapping[str, str]) -> str:
        named = {name.lower() for name in headers}
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if "accept-encoding" not in named:
            lines.insert(0, "Accept-Encoding: identity\r\n")
        if "host" not in named:
            lines.insert(0, f"Host: {self._host}\r\n")
        return "".join(lines)


def _authority(host: str, port: int | None, scheme: str) -> str:
    """A server's name as the Host header has it."""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port in (None, 443 if scheme == "https" else 80) else f"{host}:{port}"
