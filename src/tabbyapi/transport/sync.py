"""Blocking transport over urllib3's pools. Thread-safe: a connection is handed to one caller.

urllib3 connects, secures and keeps the connections. What goes over them is written and read here
(see `reply`): it is most of what a request costs.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from ..errors import RequestError, RequestTimeout
from .base import (
    IDLE_EXPIRY,
    PROBING,
    Answer,
    Request,
    cannot_connect,
    lost_connection,
    no_answer_in_time,
    proxy_for,
    sent_whole,
    smallest,
)
from .reasons import reason_of, words
from .reply import Reply, read_reply
from .wire import Wire

__all__ = ["Urllib3Transport"]

_KEPT = 128  # connections kept for reuse
_SMALL = 65_536  # a body up to this is sent in one piece with its head


class Urllib3Transport:
    """`Transport` over a pool of its own, through the proxy that the environment names."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        proxy = proxy_for(base_url)
        options = [*HTTPConnection.default_socket_options, *PROBING]
        settings: dict[str, Any] = {"maxsize": _KEPT, "block": False, "socket_options": options}
        if proxy is None:
            self._manager = urllib3.PoolManager(num_pools=1, **settings)
        else:
            self._manager = urllib3.ProxyManager(proxy, num_pools=1, **settings)
        self._pool: Any = self._manager.connection_from_url(base_url)
        # A plain proxy is asked for the whole URL, a tunnel through one for the path.
        self._tunnelled = proxy is not None and parts.scheme == "https"
        whole_url = proxy is not None and not self._tunnelled
        self._prefix = 0 if whole_url else len(base_url) - len(parts.path)
        self._host = _authority(parts.hostname or "", parts.port, parts.scheme)

    def send(self, request: Request) -> Answer:
        return sent_whole(self, request)

    def open(self, request: Request) -> PooledStream:
        limit = smallest(request.read_timeout, request.timeout.total)
        deadline = None if limit is None else time.monotonic() + limit
        connection = self._connected(request, limit)
        wire = Wire(connection.sock, deadline)
        body = request.body
        try:
            head = self._head(request)
            if body is None or len(body) > _SMALL:
                wire.send(head)
                if body is not None:
                    wire.send(body)
            else:
                wire.send(head + body)
            reply = read_reply(wire, request.limits.header)
        except BaseException as error:
            wire.close()
            connection.close()
            if isinstance(error, TimeoutError):
                raise no_answer_in_time(request, limit, "no answer came") from None
            if isinstance(error, http.client.HTTPException | OSError):
                raise lost_connection(request, words(error), answered=wire.answered) from None
            raise
        return PooledStream(request, reply, wire, connection, self._pool)

    def close(self) -> None:
        self._manager.clear()

    def _connected(self, request: Request, limit: float | None) -> Any:
        """A connection of the pool; a new one if all are in use, were closed, or idle for long."""
        connection = None
        try:
            connection = self._pool._get_conn()
            if time.monotonic() - getattr(connection, "idle_since", 0.0) > IDLE_EXPIRY:
                connection.close()  # the server may be closing it too
            if connection.sock is None:
                connection.timeout = smallest(request.timeout.connect, limit)
                if self._tunnelled:
                    self._pool._prepare_proxy(connection)
                else:
                    connection.connect()
        except (HTTPError, http.client.HTTPException, OSError) as error:
            if connection is not None:
                connection.close()
            raise cannot_connect(request.url, reason_of(error)) from None
        return connection

    def _head(self, request: Request) -> bytes:
        headers = request.headers
        named = {name.lower() for name in headers}
        lines = [f"{request.method} {request.url[self._prefix :]} HTTP/1.1"]
        if "host" not in named:
            lines.append(f"Host: {self._host}")
        if "accept-encoding" not in named:
            lines.append("Accept-Encoding: identity")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if request.body is not None:
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join([*lines, "", ""]).encode()


class PooledStream:
    """The body of an answer. Its content coding, if any, is left on."""

    __slots__ = ("_failed", "_holds", "_pool", "_reply", "_request", "_wire", "headers", "status")

    def __init__(
        self, request: Request, reply: Reply, wire: Wire, connection: Any, pool: Any
    ) -> None:
        self._request = request
        self._reply = reply
        self._wire = wire
        self._holds = [connection]  # taken out by the one who gives it back or closes it
        self._pool = pool
        self._failed: RequestError | None = None
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers
        if reply.done:
            self._release()

    def read(self, timeout: float | None) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            data = self._reply.read(timeout)
        except TimeoutError:
            self._failed = no_answer_in_time(self._request, timeout, "no data came")
            raise self._failed from None
        except (http.client.HTTPException, OSError) as error:
            self._failed = lost_connection(self._request, words(error), answered=True)
            raise self._failed from None
        if self._reply.done:
            self._release()
        return data

    def finish(self) -> None:
        try:
            # The end of the body comes right behind [DONE]; nobody should wait for it long.
            if self.read(0.25):
                self.close()
        except (RequestError, RequestTimeout):
            self.close()

    def close(self) -> None:
        with contextlib.suppress(IndexError):
            connection = self._holds.pop()
            self._wire.close()
            connection.close()

    def _release(self) -> None:
        with contextlib.suppress(IndexError):
            connection = self._holds.pop()
            if self._reply.reusable:
                connection.idle_since = time.monotonic()
            else:
                connection.close()
            self._pool._put_conn(connection)


def _authority(host: str, port: int | None, scheme: str) -> str:
    """A server's name as the Host header has it."""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port in (None, 443 if scheme == "https" else 80) else f"{host}:{port}"
