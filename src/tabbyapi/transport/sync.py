"""Blocking transport over urllib3. Thread-safe: the pool hands a connection to one caller."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
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
from .base import (
    IDLE_EXPIRY,
    PROBING,
    Answer,
    Request,
    cannot_connect,
    deadline_of,
    lost_connection,
    no_answer_in_time,
    proxy_for,
    read_body,
    smallest,
)
from .wire import Attempt, PacedConnection, PacedResponse, PacedTLSConnection, attempt

__all__ = ["Urllib3Transport"]

_READ = 65536
_KEPT = 128  # connections kept for reuse


class _ExpiringPool(urllib3.HTTPConnectionPool):
    """Closes connections that were idle for so long that the server may be closing them."""

    ConnectionCls = PacedConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        idle_since = getattr(connection, "idle_since", None)
        if idle_since is not None and time.monotonic() - idle_since > IDLE_EXPIRY:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
            if getattr(conn, "spoiled", False):
                conn.close()
        super()._put_conn(conn)


class _ExpiringTLSPool(_ExpiringPool, urllib3.HTTPSConnectionPool):
    ConnectionCls = PacedTLSConnection


class Urllib3Transport:
    """`Transport` over a pool of one's own, or over a `urllib3.PoolManager` that is handed in."""

    def __init__(self, base_url: str, manager: urllib3.PoolManager | None = None) -> None:
        self._owned = manager is None
        if manager is None:
            proxy = proxy_for(base_url)
            options = [*urllib3.connection.HTTPConnection.default_socket_options, *PROBING]
            settings: dict[str, Any] = {"maxsize": _KEPT, "block": False, "retries": False}
            settings["socket_options"] = options
            if proxy is None:
                manager = urllib3.PoolManager(num_pools=4, **settings)
            else:
                manager = urllib3.ProxyManager(proxy, num_pools=4, **settings)
            manager.pool_classes_by_scheme = {"http": _ExpiringPool, "https": _ExpiringTLSPool}
        self._manager = manager
        # Through a proxy the pool needs the whole URL; a direct one only the path.
        self._whole_url = isinstance(manager, urllib3.ProxyManager)
        self._pool = None if self._whole_url else manager.connection_from_url(base_url)
        self._prefix = len(base_url) - len(urlsplit(base_url).path)

    def send(self, request: Request) -> Answer:
        deadline = deadline_of(request)
        stream = self.open(request)
        try:
            body = read_body(stream, request, deadline)
        except BaseException:
            stream.close()
            raise
        return Answer(stream.status, stream.headers, body)

    def open(self, request: Request) -> Urllib3Stream:
        timeout = request.timeout
        limit = smallest(request.read_timeout, timeout.total)
        options: dict[str, Any] = {
            "body": request.body,
            "headers": request.headers,
            "timeout": urllib3.Timeout(connect=smallest(timeout.connect, limit), read=limit),
            "retries": False,
            "redirect": False,
            "preload_content": False,
            "decode_content": False,
        }
        trial = Attempt(None if limit is None else time.monotonic() + limit, request.limits.header)
        token = attempt.set(trial)
        try:
            if self._pool is None:
                response = self._manager.request(request.method, request.url, **options)
            else:
                path = request.url[self._prefix :]
                response = self._pool.urlopen(request.method, path, **options)
        except (ConnectTimeoutError, NewConnectionError, ProxyError, SSLError) as error:
            raise cannot_connect(request.url, _reason(error)) from None
        except (HTTPError, http.client.HTTPException, OSError) as error:
            cause = _cause(error)
            if isinstance(cause, TimeoutError | ReadTimeoutError):
                raise no_answer_in_time(request, limit, "no answer came") from None
            answered = trial.answered or _had_answer(cause)
            raise lost_connection(request, _reason(error), answered=answered) from None
        finally:
            attempt.reset(token)
        return Urllib3Stream(request, response)

    def close(self) -> None:
        if self._owned:
            self._manager.clear()


class Urllib3Stream:
    """The body of an answer. Its content coding, if any, is left on."""

    __slots__ = (
        "_connection",
        "_failed",
        "_pieces",
        "_request",
        "_response",
        "_timeout",
        "_wire",
        "headers",
        "status",
    )

    def __init__(self, request: Request, response: Any) -> None:
        self._request = request
        self._response = response
        self._connection: Any = response.connection
        # None on connections of a pool that was handed in: their reads are bounded one by one.
        answer: PacedResponse | None = getattr(self._connection, "answer", None)
        self._wire = None if answer is None else answer.wire
        self._timeout = request.read_timeout
        self._pieces = _pieces(response, answer)
        self._failed: RequestError | None = None  # raised once what came before is handed out
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self, timeout: float | None) -> bytes:
        if self._failed is not None:
            raise self._failed
        wire = self._wire
        if wire is not None:
            wire.expect(timeout)
        elif timeout != self._timeout:
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
        if wire is not None and wire.failure is not None:  # the end is where it broke
            self._failed = self._failure(wire.failure, timeout)
            raise self._failed
        return b""

    def _failure(self, cause: BaseException, timeout: float | None) -> RequestError:
        if self._wire is not None and self._wire.failure is not None:
            cause = self._wire.failure
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


def _pieces(response: Any, answer: PacedResponse | None) -> Iterator[bytes]:
    """The body's bytes as they arrive: what one read of the socket gives, or one HTTP chunk."""
    if response.chunked and response.supports_chunked_reads():
        if answer is None:
            yield from response.read_chunked(_READ, decode_content=False)
        else:
            yield from answer.dechunked()
            if answer.isclosed():
                response.release_conn()
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


def _reason(error: BaseException) -> str:
    return _words(_cause(error))


def _words(error: BaseException) -> str:
    """A cause in a few words, without addresses of objects."""
    if isinstance(error, ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    text = str(error)
    return text.split(": ", 1)[-1] if " object at 0x" in text else text or type(error).__name__
