"""HTTP/1.1 without I/O, for both twins: heads of requests, and the reading of one answer.

Theory of operation. An `AnswerReader` reads one answer and is thrown away. llhttp (the parser of
Node, by way of `httptools`) takes the bytes and calls back. States, changed by the callbacks, by
`feed` (a parse error) and by `end` (the connection's end):

    HEAD -> BODY -> DONE      HEAD or BODY -> FAILED

`status` is set on leaving HEAD. Interim answers (1xx) leave the state in HEAD. Bytes of the body
that precede a parse error are given out first; `check` raises the error afterwards.

llhttp lets a few things pass that RFC 9112 does not, or that this client cannot undo: another
transfer coding than chunked, a content coding, other protocols of the same shape (RTSP, ICE,
HTTP/2.0), heads of any size. They are refused here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from httptools.parser.errors import HttpParserError
from httptools.parser.parser import HttpResponseParser

if TYPE_CHECKING:
    from .._protocol.headers import Headers
    from .base import Request

__all__ = [
    "AnswerReader",
    "CutOffError",
    "HTTPError",
    "MaskedBytes",
    "RequestHeads",
    "State",
    "authority",
]

_LINES = 100  # of a head; and as many interim answers
_OVERHEAD = 2 * 65_536  # bytes of framing (extensions, trailers) in a row without any content
_CODINGS = (("transfer-encoding", "chunked"), ("content-encoding", "identity"))
_KEPT = 16  # heads


class HTTPError(Exception):
    """What has come is not a valid answer of HTTP/1; the text says why."""


class CutOffError(HTTPError):
    """The connection ended before the answer did."""


class State(Enum):
    """How far an answer has been read."""

    HEAD = "head"
    BODY = "body"
    DONE = "done"
    FAILED = "failed"


_HEAD, _BODY, _DONE, _FAILED = State


class AnswerReader:
    """Reads one answer off a connection: `feed` it what was received, `end` it at the end.

    Args:
        limit: bytes that a line of the head may have.

    Attributes:
        state: how far it is.
        status: of its head; 0 until that is read.
        headers: with names in lower case; those given several times are joined by ", ".
    """

    __slots__ = (
        "_extra",
        "_failure",
        "_interim",
        "_keep",
        "_limit",
        "_lines",
        "_parser",
        "_pieces",
        "_start",
        "_unfinished",
        "headers",
        "on_body",
        "state",
        "status",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # of the body, in the read being parsed
        self._start = b""  # first bytes of the answer, for the error message
        self._lines = 0  # headers and trailers
        self._interim = 0
        self._unfinished = 0  # bytes since the last header or the last content
        self._extra = False  # bytes came after the answer's end
        self._keep = False
        self._failure: str | None = None
        self.state = _HEAD
        self.status = 0
        self.headers: dict[str, str] = {}
        self.on_body = self._pieces.append
        # The parser holds this reader: let go at the end, so that no circle is left behind.
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def done(self) -> bool:
        """True once the body is over."""
        return self.state is _DONE

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry a further request.

        Not after a status of 500 or more: TabbyAPI closes the connection then, unannounced.
        """
        return self.state is _DONE and self._keep and not self._extra and self.status < 500

    def feed(self, data: bytes | memoryview) -> bytes:
        """The bytes of the body that are in `data`. Those before a failure are given out.

        Raises:
            HTTPError: the head is not valid, or larger than the limits.
        """
        parser = self._parser
        if parser is None:
            if bytes(data).strip(b"\r\n"):
                self._extra = True
            return b""
        self._unfinished += len(data)
        if len(self._start) < 80 and self.state is _HEAD:
            self._start += bytes(data[:80])
        try:
            parser.feed_data(data)
        except HttpParserError as error:
            self._stop(str(error))
        pieces = self._pieces
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._unfinished = 0
            return piece
        if self.state is _HEAD:
            if self._unfinished > self._limit:
                self._stop(f"a line of its head has more than {self._limit:,} bytes")
        elif self._unfinished > _OVERHEAD and self.state is _BODY:
            self._stop("its framing goes on and on without content")
        return b""

    def check(self) -> None:
        """Raise what is wrong with the body so far, if anything.

        Raises:
            HTTPError: its framing is broken.
        """
        if self.state is _FAILED:
            raise HTTPError(self._failure)

    def end(self) -> None:
        """The connection has ended, and with it perhaps the body.

        Raises:
            CutOffError: the answer is not whole.
            HTTPError: it was broken before.
        """
        self.check()
        if self.state is _HEAD:
            cut = "its head is cut off" if self._start else "the server disconnected"
            raise CutOffError(cut)
        if self.state is _BODY:
            if "content-length" in self.headers or "transfer-encoding" in self.headers:
                raise CutOffError("its body is cut off")
            self.state, self._parser = _DONE, None

    def _stop(self, reason: str) -> None:
        """End the parsing. What follows a whole answer is no fault of that answer."""
        self._parser = None
        if self.state is _DONE:
            self._extra = True
            return
        in_head, self.state = self.state is _HEAD, _FAILED
        if self._failure is None:
            self._failure = reason[:1].lower() + reason[1:]
        if in_head:
            # Text that is no HTTP at all, such as the banner of an SSH server, explains itself.
            begun = f"; it begins with {self._start[:80]!r}" if not self._lines else ""
            raise HTTPError(self._failure + begun)

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.state is not _HEAD:  # a second answer
            raise HTTPError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unfinished = 0
        self._lines += 1
        if self._lines > _LINES:
            self._refuse(f"it has more than {_LINES} headers")
        if len(name) + len(value) > self._limit:
            self._refuse(f"a line of its head has more than {self._limit:,} bytes")
        if self.state is _HEAD:  # trailers are skipped
            key, text = name.decode("ascii").lower(), value.decode("latin-1").rstrip()
            headers = self.headers
            headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status, version = parser.get_status_code(), parser.get_http_version()
        if not self._start.lstrip(b"\r\n").startswith(b"HTTP/") or version not in ("1.1", "1.0"):
            self._refuse("it is not HTTP/1")
        if status < 100:
            self._refuse(f"its status is {status:03}")
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim >= _LINES:
                self._refuse(f"it follows more than {_LINES} interim answers")
            self.headers, self._lines = {}, 0
            return
        for name, accepted in _CODINGS:
            coding = self.headers.get(name)
            if coding is not None and coding.lower() != accepted:
                self._refuse(f"it has {name} {coding[:80]}, which was not asked for")
        self.status, self.state = status, _BODY

    def on_message_complete(self) -> None:
        if self.state is _BODY:  # not an interim answer
            assert self._parser is not None
            self._keep = self._parser.should_keep_alive()
            self.state, self._parser = _DONE, None

    def _refuse(self, reason: str) -> None:
        self._failure = reason
        raise HTTPError(reason)  # the parser stops, and raises an error of its own


class RequestHeads:
    """The heads of requests to one server.

    Args:
        base_url: its root.
        proxy_login: of a proxy that is asked for whole addresses; "" if it wants none, None if
            there is no such proxy.
    """

    def __init__(self, base_url: str, proxy_login: str | None = None) -> None:
        parts = urlsplit(base_url)
        self._prefix = 0 if proxy_login is not None else len(base_url) - len(parts.path)
        self._login = f"Proxy-Authorization: {proxy_login}\r\n" if proxy_login else ""
        default = 443 if parts.scheme == "https" else 80
        port = None if parts.port == default else parts.port
        self._host = authority(parts.hostname or "", port)
        # A client has one set of headers for each class of route, and asks with it again.
        self._kept: dict[int, tuple[Headers, str]] = {}

    def of(self, request: Request) -> MaskedBytes:
        """The head of a request. It holds the key, and shows it nowhere."""
        headers = request.headers
        kept = self._kept.get(id(headers))
        if kept is None or kept[0] is not headers:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            kept = self._kept[id(headers)] = headers, self._lines(headers)
        size = "" if request.body is None else f"Content-Length: {len(request.body)}\r\n"
        path = request.url[self._prefix :]
        return MaskedBytes(f"{request.method} {path} HTTP/1.1\r\n{kept[1]}{size}\r\n".encode())

    def _lines(self, headers: Headers) -> str:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if "accept-encoding" not in headers:
            lines.insert(0, "Accept-Encoding: identity\r\n")
        if "host" not in headers:
            lines.insert(0, f"Host: {self._host}\r\n")
        return "".join([*lines, self._login])


class MaskedBytes(bytes):
    """Bytes that hold a key or a login: error reporters show the repr of local variables."""

    __slots__ = ()

    def joined(self, body: bytes) -> MaskedBytes:
        """These bytes and a body."""
        return MaskedBytes(self + body)

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, not shown>"


def authority(host: str, port: int | None) -> str:
    """Host and port as addresses and the Host header have them."""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port is None else f"{host}:{port}"
