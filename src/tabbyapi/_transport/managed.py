"""Blocking transport over urllib3: through a proxy, or over a `PoolManager` that is handed in."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ..errors import RequestError, RequestTimeout
from .base import PROBING, sent_whole, smallest
from .errors import cannot_connect, lost_connection, no_answer_in_time, words
from .request import Answer, Request

__all__ = ["ManagedTransport"]

_READ = 65_536
_KEPT = 128  # connections kept for reuse


class ManagedTransport:
    """`Transport` over pools of urllib3: their proxies, certificates and limits hold.

    urllib3 bounds each read of a socket by itself, not a whole head or a chunk's frame.
    """

    def __init__(self, manager: urllib3.PoolManager, *, owned: bool = False) -> None:
        self._manager = manager
        self._owned = owned

    @classmethod
    def through(cls, proxy: str) -> ManagedTransport:
        """A transport through this proxy."""
        options = [*HTTPConnection.default_socket_options, *PROBING]
        manager = urllib3.ProxyManager(proxy, maxsize=_KEPT, socket_options=options)
        return cls(manager, owned=True)

    def send(self, request: Request) -> Answer:
        return sent_whole(self, request)

    def open(self, request: Request) -> ManagedStream:
        timeout = request.timeout
        limit = smallest(request.read_timeout, timeout.total)
        try:
            response = self._manager.request(
                request.method,
                request.url,
                body=request.body,
                headers=request.headers,
                timeout=urllib3.Timeout(connect=smallest(timeout.connect, limit), read=limit),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (ConnectTimeoutError, NewConnectionError, ProxyError, SSLError) as error:
            raise cannot_connect(request.url, _words(error)) from None
        except (HTTPError, http.client.HTTPException, OSError) as error:
            cause = _cause(error)
            if isinstance(cause, TimeoutError | ReadTimeoutError):
                raise no_answer_in_time(request, limit, "no answer came") from None
            raise lost_connection(request, _words(cause), answered=_had_answer(cause)) from None
        return ManagedStream(request, response)

    def close(self) -> None:
        """Closes idle connections, unless the pools are somebody else's."""
        if self._owned:
            self._manager.clear()


class ManagedStream:
    """The body of an answer. Its content coding, if any, is left on."""

    __slots__ = (
        "_connection",
        "_failed",
        "_pieces",
        "_request",
        "_response",
        "_timeout",
        "headers",
        "status",
    )

    def __init__(self, request: Request, response: Any) -> None:
        self._request = request
        self._response = response
        self._connection: Any = response.connection
        self._timeout = request.read_timeout
        self._pieces = _pieces(response)
        self._failed: RequestError | None = None  # raised once what came before is handed out
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self, timeout: float | None) -> bytes:
        if self._failed is not None:
            raise self._failed
        if timeout != self._timeout:
            self._set_timeout(timeout)
        try:
            for piece in self._pieces:
                if piece:
                    return piece
        # The last two: urllib3's reader finds its socket closed by another thread.
        except (HTTPError, http.client.HTTPException, OSError, ValueError, AttributeError) as error:
            cause = _cause(error)
            self._failed = self._failure(cause, timeout)
            arrived = getattr(cause, "partial", b"")  # of an IncompleteRead
            if arrived and isinstance(arrived, bytes):
                return arrived
            raise self._failed from None
        return b""

    def _failure(self, cause: BaseException, timeout: float | None) -> RequestError:
        if isinstance(cause, TimeoutError | ReadTimeoutError):
            return no_answer_in_time(self._request, timeout, "no data came")
        return lost_connection(self._request, _words(cause), answered=True)

    def finish(self) -> None:
        try:
            # The end of the body comes right behind [DONE]; nobody should wait for it long.
            if self.read(0.25):
                self.close()
        except (RequestError, RequestTimeout):
            self.close()

    def close(self) -> None:
        response, self._connection = self._response, None
        with contextlib.suppress(Exception):
            response.shutdown()  # wakes a reader blocked in another thread
        with contextlib.suppress(Exception):
            response.close()

    def _set_timeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.settimeout(timeout)


def _pieces(response: Any) -> Iterator[bytes]:
    """The body's bytes as they arrive: one HTTP chunk, or what one read of the socket gives."""
    if response.chunked and response.supports_chunked_reads():
        yield from response.read_chunked(_READ, decode_content=False)
    else:
        while piece := response.read1(_READ, decode_content=False):
            yield piece


def _had_answer(cause: BaseException) -> bool:
    """Whether bytes of an answer had come when this was raised."""
    if isinstance(cause, http.client.RemoteDisconnected):
        return False
    return isinstance(cause, http.client.HTTPException)


def _cause(error: BaseException) -> BaseException:
    """The innermost cause of what urllib3 raised."""
    while True:
        inner = (
            error.__cause__
            or getattr(error, "reason", None)
            or getattr(error, "original_error", None)
        )
        if inner is None and isinstance(error, ProtocolError) and len(error.args) > 1:
            inner = error.args[1]
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def _words(error: BaseException) -> str:
    cause = _cause(error)
    return "no connection in time" if isinstance(cause, ConnectTimeoutError) else words(cause)
