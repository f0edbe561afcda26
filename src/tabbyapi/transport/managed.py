"""Blocking transport over a `urllib3.PoolManager` that is handed in, used as it is."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ..errors import RequestError, RequestTimeout
from .base import (
    Answer,
    Request,
    cannot_connect,
    lost_connection,
    no_answer_in_time,
    sent_whole,
    smallest,
)
from .reasons import cause_of, reason_of, words

__all__ = ["ManagedTransport"]

_READ = 65536


class ManagedTransport:
    """`Transport` over somebody's pools: their proxies, certificates and limits hold.

    urllib3 bounds each read of a socket by itself, not a whole head or a chunk's frame.
    """

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self._manager = manager

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
            raise cannot_connect(request.url, reason_of(error)) from None
        except (HTTPError, http.client.HTTPException, OSError) as error:
            cause = cause_of(error)
            if isinstance(cause, TimeoutError | ReadTimeoutError):
                raise no_answer_in_time(request, limit, "no answer came") from None
            raise lost_connection(request, words(cause), answered=_had_answer(cause)) from None
        return ManagedStream(request, response)

    def close(self) -> None:
        """Does nothing: the pools are their owner's."""


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
            cause = cause_of(error)
            self._failed = self._failure(cause, timeout)
            arrived = getattr(cause, "partial", b"")  # of an IncompleteRead
            if arrived and isinstance(arrived, bytes):
                return arrived
            raise self._failed from None
        return b""

    def _failure(self, cause: BaseException, timeout: float | None) -> RequestError:
        if isinstance(cause, TimeoutError | ReadTimeoutError):
            return no_answer_in_time(self._request, timeout, "no data came")
        return lost_connection(self._request, words(cause), answered=True)

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
