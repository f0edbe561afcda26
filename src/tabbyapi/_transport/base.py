"""What a transport is: three verbs, and the facts both twins share."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from ..errors import RequestError
from .errors import no_answer_in_time
from .request import Answer, Request

__all__ = [
    "IDLE_EXPIRY",
    "PROBING",
    "AsyncByteStream",
    "AsyncTransport",
    "ByteStream",
    "Transport",
    "address_of",
    "check_size",
    "deadline_of",
    "is_event_stream",
    "is_loopback",
    "proxy_for",
    "read_body",
    "read_body_async",
    "sent_whole",
    "smallest",
]

IDLE_EXPIRY = 4.0
"""Seconds a connection is kept for reuse: TabbyAPI closes idle ones after 5."""


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


class Transport(Protocol):
    """Sends requests. Errors are `ConnectError`, `RequestTimeout` and `RequestError`."""

    def send(self, request: Request) -> Answer: ...

    def open(self, request: Request) -> ByteStream: ...

    def close(self) -> None: ...


class AsyncByteStream(Protocol):
    """`ByteStream`, awaited. Timeouts are the reader's: it closes the stream to end a read."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    async def finish(self) -> None: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """`Transport`, awaited."""

    async def send(self, request: Request) -> Answer: ...

    async def open(self, request: Request) -> AsyncByteStream: ...

    async def close(self) -> None: ...


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """True for a successful answer of server-sent events; others are read whole."""
    return status == 200 and headers.get("content-type", "").startswith("text/event-stream")


def deadline_of(request: Request) -> float | None:
    """When the whole call must be over, by the monotonic clock; None = never."""
    total = request.timeout.total
    return None if total is None else time.monotonic() + total


def smallest(*limits: float | None) -> float | None:
    """The shortest of some limits, of which None is none."""
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


def read_body(stream: ByteStream, request: Request, deadline: float | None) -> bytes:
    """The body up to its end.

    Raises:
        RequestTimeout: it was not complete at the deadline, or the server fell silent.
        RequestError: the connection broke, or the body is longer than `limits.body`.
    """
    pieces: list[bytes] = []
    size = 0
    wait = request.read_timeout
    while True:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                total = request.timeout.total
                raise no_answer_in_time(request, total, "the answer was not complete")
            wait = smallest(left, request.read_timeout)
        piece = stream.read(wait)
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
    deadline = deadline_of(request)
    stream = transport.open(request)
    try:
        body = read_body(stream, request, deadline)
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


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this machine."""
    host = (host or "").lower().rstrip(".")
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a server's root. The zone of an address is written as systems want it."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("%25", "%", 1)
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address; never one for loopback."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname):
        return None
    from urllib.request import getproxies, proxy_bypass  # slow to import, and mostly not needed

    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or (parts.hostname and proxy_bypass(parts.hostname)):
        return None
    return proxy


def check_size(size: int, request: Request) -> None:
    """Sees that a body is not larger than it may be.

    Raises:
        RequestError: it is.
    """
    if size > request.limits.body:
        raise RequestError(
            f"{request.method} {request.url}: the answer is larger than "
            f"{request.limits.body:,} bytes (limits.body) and was given up",
            answered=True,
        )
