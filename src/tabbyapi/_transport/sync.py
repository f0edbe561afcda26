"""Blocking transport over sockets. Thread-safe: a connection is handed to one caller.

Connections are made and secured by `socket` and `ssl`; what goes over them is HTTP of `http1`.
"""

from __future__ import annotations

import contextlib
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import RequestError, RequestTimeout
from .base import PROBING, address_of, sent_whole, smallest
from .connection import Wire, left_of
from .errors import (
    broken_answer,
    cannot_connect,
    is_over,
    lost_connection,
    no_answer,
    no_answer_in_time,
    words,
)
from .http1 import AnswerReader, HTTPError, RequestHeads
from .pool import Idle
from .request import Answer, Request

__all__ = ["SocketTransport"]

_SMALL = 65_536  # a body up to this is sent in one piece with its head


class SocketTransport:
    """`Transport` over connections of its own."""

    def __init__(self, base_url: str) -> None:
        host, port = address_of(base_url)
        # As bytes it is looked up as it is; a string brings in the tables of all scripts.
        self._address: Any = host.encode() if host.isascii() else host
        self._port = port
        self._heads = RequestHeads(base_url)
        self._idle: Idle[Wire] = Idle()
        weakref.finalize(self, self._idle.close)  # for those who forget to close their client
        self._secure: Callable[[socket.socket], socket.socket] | None = None
        self._waits: tuple[type[OSError], ...] = (BlockingIOError,)
        if base_url.startswith("https:"):
            from .tls import WAITS, Securing

            self._secure, self._waits = Securing(host).secured, WAITS

    def send(self, request: Request) -> Answer:
        return sent_whole(self, request)

    def open(self, request: Request) -> SocketStream:
        limit = smallest(request.read_timeout, request.timeout.total)
        deadline = None if limit is None else time.monotonic() + limit
        wire = self._wire(request, limit)
        reader = AnswerReader(request.limits.header)
        head, body = self._heads.of(request), request.body
        try:
            if body is not None and len(body) <= _SMALL:
                head, body = head + body, None
            wire.send(head, deadline)
            if body is not None:
                wire.send(body, deadline)
            held = b""
            while not reader.status:
                data = wire.receive(left_of(deadline))
                if data:
                    held = reader.feed(data)
                else:
                    reader.end()
        except BaseException as error:
            wire.close()
            raise no_answer(request, limit, error, answered=wire.answered) from None
        return SocketStream(request, reader, held, wire, self._idle)

    def close(self) -> None:
        self._idle.close()

    def _wire(self, request: Request, limit: float | None) -> Wire:
        """A connection that is open: the one used last, or a new one.

        Raises:
            ConnectError: there is none, and none can be made.
        """
        wire = self._idle.take()
        if wire is not None:
            return wire
        try:
            return self._connect(smallest(request.timeout.connect, limit))
        except OSError as error:
            raise cannot_connect(request.url, words(error)) from None

    def _connect(self, timeout: float | None) -> Wire:
        sock = socket.create_connection((self._address, self._port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in PROBING:
                sock.setsockopt(*option)
            if self._secure is not None:
                sock = self._secure(sock)
        except BaseException:
            sock.close()
            raise
        return Wire(sock, self._waits)


class SocketStream:
    """The body of an answer. Its content coding, if any, is left on."""

    __slots__ = (
        "_failed",
        "_held",
        "_idle",
        "_reader",
        "_request",
        "_wires",
        "headers",
        "status",
    )

    def __init__(
        self, request: Request, reader: AnswerReader, held: bytes, wire: Wire, idle: Idle[Wire]
    ) -> None:
        self._request = request
        self._reader = reader
        self._held = held  # of the body; came with the head
        self._wires = [wire]  # taken out by the one who gives it back or closes it
        self._idle = idle
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
                data = self._wires[0].receive(wait)
                if not data:
                    reader.end()
                elif piece := reader.feed(data):
                    if reader.done:
                        self._release()
                    return piece
                wait = left_of(deadline)  # for it was framing alone
        except IndexError:
            self._failed = lost_connection(self._request, "it was closed here", answered=True)
        except (HTTPError, OSError) as error:
            if is_over(error):
                self._failed = no_answer_in_time(self._request, timeout, "no data came")
            else:
                self._failed = broken_answer(self._request, error)
        else:
            self._release()
            return b""
        raise self._failed from None

    def finish(self) -> None:
        try:
            # The end of the body comes right behind [DONE]; nobody should wait for it long.
            if self.read(0.25):
                self.close()
        except (RequestError, RequestTimeout):
            self.close()

    def close(self) -> None:
        with contextlib.suppress(IndexError):
            self._wires.pop().close()

    def _release(self) -> None:
        with contextlib.suppress(IndexError):
            wire = self._wires.pop()
            if self._reader.reusable and not wire.cut_short:
                self._idle.put(wire)
            else:
                wire.close()
