"""Blocking transport over sockets. Thread-safe: a connection is handed to one caller.

A request takes an idle connection or makes one. A connection that was idle may have been closed
by the server in the meantime: if it ends before the first byte of an answer, the request is sent
once more over a new one, and no retry is spent on it.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping

from ..errors import ConnectError, RequestError, RequestTimeout
from .base import Answer, Request, sent_whole, smallest, time_left
from .connect import Route
from .connection import Connection, left_of
from .errors import broken_answer, is_over, is_stale, no_answer, no_answer_in_time
from .http1 import AnswerReader, CutOffError, HTTPError
from .pool import Lease, Pool
from .proxy import ProxyError, refusal
from .sync_connect import connect

__all__ = ["SocketTransport"]

_SMALL = 65_536  # a body up to this is sent in one piece with its head


class SocketTransport:
    """`Transport` over connections of its own."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._pool: Pool[Connection] = Pool()
        weakref.finalize(self, self._pool.close)  # for clients that are never closed

    def send(self, request: Request) -> Answer:
        return sent_whole(self, request)

    def open(self, request: Request) -> SocketStream:
        limit = smallest(request.read_timeout, time_left(request))
        deadline = None if limit is None else time.monotonic() + limit
        connection = self._pool.take()
        reused = connection is not None
        while True:
            if connection is None:
                connection = self._connect(request, limit)
            reader = AnswerReader(request.limits.header)
            try:
                self._send(connection, request, deadline)
                held = _read_head(connection, reader, deadline)
                break
            except BaseException as error:
                connection.close()
                if reused and request.repeatable and is_stale(error) and not connection.answered:
                    connection, reused = None, False
                    continue
                shown = smallest(request.read_timeout, request.timeout.total)
                raise no_answer(
                    request, shown, error, answered=connection.answered, via=self._route.via
                ) from None
        if reader.status == 407 and self._route.via:
            connection.close()
            raise self._route.cannot_connect(refusal(407))
        return SocketStream(request, reader, held, connection, self._pool, self._route.via)

    def close(self) -> None:
        self._pool.close()

    def _connect(self, request: Request, limit: float | None) -> Connection:
        try:
            return connect(self._route, smallest(request.timeout.connect, limit))
        except (OSError, ProxyError) as error:
            failure: ConnectError = self._route.cannot_connect(error)
        raise failure

    def _send(self, connection: Connection, request: Request, deadline: float | None) -> None:
        body = request.body
        if body is None:
            connection.send(self._route.heads.of(request), deadline)
        elif len(body) <= _SMALL:
            connection.send(self._route.heads.of(request).joined(body), deadline)
        else:
            connection.send(self._route.heads.of(request), deadline)
            connection.send(body, deadline)


def _read_head(connection: Connection, reader: AnswerReader, deadline: float | None) -> bytes:
    """Receive the head of an answer; what came of its body with it."""
    while True:
        data = connection.receive(left_of(deadline))
        if not data:
            reader.end()
        held = reader.feed(data)
        if reader.status:
            return held


class SocketStream:
    """The body of an answer."""

    __slots__ = (
        "_failed",
        "_held",
        "_lease",
        "_pool",
        "_reader",
        "_request",
        "_via",
        "headers",
        "status",
    )

    def __init__(
        self,
        request: Request,
        reader: AnswerReader,
        held: bytes,
        connection: Connection,
        pool: Pool[Connection],
        via: str = "",
    ) -> None:
        self._request = request
        self._reader = reader
        self._held = held  # of the body; came with the head
        self._lease = Lease(connection)
        self._pool = pool
        self._via = via
        self._failed: RequestError | None = None
        self.status = reader.status
        self.headers: Mapping[str, str] = reader.headers
        if reader.done:
            self._release()

    def read(self, timeout: float | None) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        if self._failed is not None:
            raise self._failed
        reader = self._reader
        deadline = None if timeout is None else time.monotonic() + timeout
        wait = timeout
        try:
            while not reader.done:
                reader.check()
                connection = self._lease.look()
                if connection is None:
                    raise CutOffError("it was closed here")
                data = connection.receive(wait)
                if not data:
                    reader.end()
                elif piece := reader.feed(data):
                    if reader.done:
                        self._release()
                    return piece
                wait = left_of(deadline)  # what came was framing alone
        except (HTTPError, OSError) as error:
            if is_over(error):
                self._failed = no_answer_in_time(
                    self._request, timeout, "no data came", via=self._via
                )
            else:
                self._failed = broken_answer(self._request, error, via=self._via)
        else:
            self._release()
            return b""
        raise self._failed from None

    def finish(self) -> None:
        try:
            # The end of the body comes right behind [DONE]; it is not waited for long.
            if self.read(0.25):
                self.close()
        except (RequestError, RequestTimeout):
            self.close()

    def close(self) -> None:
        connection = self._lease.take()
        if connection is not None:
            connection.close()

    def _release(self) -> None:
        connection = self._lease.take()
        if connection is None:
            return
        if self._reader.reusable and not connection.cut_short:
            self._pool.put(connection)
        else:
            connection.close()
