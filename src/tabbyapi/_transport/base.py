"""What a transport is: three verbs (send, open, close), and the facts both twins share."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from .._protocol.headers import Headers
from ..errors import RequestError
from ..types.options import Limits, Timeout
from .errors import no_answer_in_time

__all__ = [
    "IDLE_EXPIRY",
    "PROBING",
    "Answer",
    "AsyncByteStream",
    "AsyncTransport",
    "ByteStream",
    "Request",
    "Transport",
    "address_of",
    "begun",
    "check_size",
    "is_event_stream",
    "read_body",
    "read_body_async",
    "sent_whole",
    "smallest",
    "time_left",
]

IDLE_EXPIRY = 4.0
"""Seconds a connection is kept for reuse: TabbyAPI closes idle ones after 5."""


class Request(msgspec.Struct, frozen=True):
    """What is sent: one try of a call.

    Attributes:
        method, url: e.g. "POST" and "http://localhost:5000/v1/chat/completions".
        headers: by name in any case; the values of keys are not shown.
        body: JSON text, or None.
        timeout: the call's limits, in seconds.
        read_timeout: longest silence, in seconds; None = any.
        limits: how large the answer may be.
        deadline: when the whole call must be over, by `time.monotonic()`; None = never.
        repeatable: whether it may be sent again when its connection proves dead.
    """

    method: str
    url: str
    headers: Headers
    body: bytes | None
    timeout: Timeout
    read_timeout: float | None
    limits: Limits = Limits()
    deadline: float | None = None
    repeatable: bool = True


class Answer(msgspec.Struct, frozen=True):
    """A complete answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ByteStream(Protocol):
    """The body of an answer that is still arriving."""

    status: int
    headers: Mapping[str, str]

    def read(self, timeout: float | None) -> bytes:
        """The next bytes, at least one; b"" at the proper end of the body.

        Raises:
            RequestTimeout: nothing came for `timeout` seconds.
            RequestError: the connection broke.
        """
        ...

    def finish(self) -> None:
        """The protocol is done: read to the end of the body so that the connection is reused."""
        ...

    def close(self) -> None:
        """Drop the connection at once. May be called from another thread, and twice."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Sends requests. Errors are `ConnectError`, `RequestTimeout` and `RequestError`."""

    def send(self, request: Request) -> Answer:
        """Send a request and read the whole answer."""
        ...

    def open(self, request: Request) -> ByteStream:
        """Send a request and read the head of the answer."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


class AsyncByteStream(Protocol):
    """`ByteStream`, awaited. Timeouts are the reader's: it closes the stream to end a read."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    async def finish(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class AsyncTransport(Protocol):
    """`Transport`, awaited."""

    async def send(self, request: Request) -> Answer: ...

    async def open(self, request: Request) -> AsyncByteStream: ...

    async def close(self) -> None: ...


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """True for a successful answer of server-sent events; others are read whole."""
    return status == 200 and headers.get("content-type", "").startswith("text/event-stream")


def smallest(*limits: float | None) -> float | None:
    """The shortest of some limits, of which None is none."""
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


def begun(request: Request) -> Request:
    """The request with its deadline counted from now."""
    total = request.timeout.total
    if total is None:
        return request
    return msgspec.structs.replace(request, deadline=time.monotonic() + total)


def time_left(request: Request) -> float | None:
    """Seconds until the call's deadline, at least 0; None if there is none."""
    return None if request.deadline is None else max(request.deadline - time.monotonic(), 0.0)


def read_body(stream: ByteStream, request: Request) -> bytes:
    """The body up to its end.

    Raises:
        RequestTimeout: it was not complete at the deadline, or the server fell silent.
        RequestError: the connection broke, or the body is longer than `limits.body`.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        left = time_left(request)
        if left == 0:
            raise no_answer_in_time(request, request.timeout.total, "the answer was not complete")
        piece = stream.read(smallest(left, request.read_timeout))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        check_size(size, request)


def sent_whole(transport: Transport, request: Request) -> Answer:
    """`Transport.send` by means of `open`.

    Raises:
        RequestTimeout, RequestError: as `read_body`.
    """
    stream = transport.open(request)
    try:
        body = read_body(stream, request)
    except BaseException:
        stream.close()
        raise
    return Answer(stream.status, stream.headers, body)


async def read_body_async(stream: AsyncByteStream, request: Request) -> bytes:
    """`read_body`, awaited; the limits on time are the caller's."""
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read():
        pieces.append(piece)
        size += len(piece)
        check_size(size, request)
    return b"".join(pieces)


def _probing() -> list[tuple[int, int, int]]:
    wanted = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    return options + [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in wanted.items()
        if hasattr(socket, name)
    ]


PROBING = _probing()
"""Socket options under which a silent connection is probed.

A server may rightly be silent for as long as it generates; one whose machine was switched off is
silent for ever, and this tells the two apart, within two minutes where the system lets us choose.
"""


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a server's root. The zone of an address is written as systems want it."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("%25", "%", 1)
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def check_size(size: int, request: Request) -> None:
    """Refuse a body that is larger than it may be.

    Raises:
        RequestError: it is.
    """
    if size > request.limits.body:
        raise RequestError(
            f"{request.method} {request.url}: the answer is larger than "
            f"{request.limits.body:,} bytes (limits.body) and was given up",
            answered=True,
        )
