"""Asyncio transport over connections of its own. Safe from many tasks of one event loop.

The loop makes and secures connections; what goes over them is HTTP of `http1`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from .aio_connection import AsyncWire, BufferedWire
from .base import PROBING, address_of, is_loopback, read_body_async, smallest
from .errors import (
    broken_answer,
    cannot_connect,
    is_over,
    no_answer,
    no_answer_in_time,
    words,
)
from .http1 import AnswerReader, HTTPError, RequestHeads
from .pool import Idle
from .request import Answer, Request

if TYPE_CHECKING:
    from .tls import Securing

__all__ = ["AsyncSocketTransport"]

_BUFFER = 2**16  # larger reads fall out of the processor's caches
_STAGGER = 0.25  # seconds after which the next address of a host is tried beside the last


class AsyncSocketTransport:
    """`AsyncTransport` over connections of its own."""

    def __init__(self, base_url: str) -> None:
        self._host, self._port = address_of(base_url)
        self._heads = RequestHeads(base_url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: Idle[AsyncWire] = Idle()
        self._make: Callable[[], AsyncWire]  # a connection of this loop
        self._securing: Securing | None = None
        if base_url.startswith("https:"):
            from .tls import Securing

            self._securing = Securing(self._host)

    async def send(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        total = request.timeout.total
        until = None if total is None else loop.time() + total
        stream = await self.open(request)
        wait = smallest(request.read_timeout, None if until is None else until - loop.time())
        try:
            body = await stream.whole(wait)
        except TimeoutError:
            limit = smallest(total, request.read_timeout)
            raise no_answer_in_time(request, limit, "the answer was not complete") from None
        return Answer(stream.status, stream.headers, body)

    async def open(self, request: Request) -> AsyncSocketStream:
        limit = smallest(request.read_timeout, request.timeout.total)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # that of before has ended, and its connections with it
            self._loop, self._idle = loop, Idle()
            self._make = self._maker(loop)
        wire, left = self._idle.take(), limit
        if wire is None:
            started = loop.time()
            wire = await self._connected(request, limit)
            if limit is not None:
                left = max(limit - (loop.time() - started), 0.0)
        try:
            reader = await wire.ask(
                self._heads.of(request), request.body, request.limits.header, left
            )
        except BaseException as error:
            wire.close()
            raise no_answer(request, limit, error, answered=wire.answered) from None
        return AsyncSocketStream(request, reader, wire, self._idle)

    async def close(self) -> None:
        self._idle.close()

    def _maker(self, loop: asyncio.AbstractEventLoop) -> Callable[[], AsyncWire]:
        if self._securing is None and isinstance(loop, asyncio.SelectorEventLoop):
            return partial(BufferedWire, loop, memoryview(bytearray(_BUFFER)))
        return partial(AsyncWire, loop)

    async def _connected(self, request: Request, limit: float | None) -> AsyncWire:
        connect = request.timeout.connect
        try:
            async with asyncio.timeout(smallest(connect, limit)):
                return await self._connect()
        except OSError as error:  # TimeoutError is one
            raise cannot_connect(request.url, words(error)) from None

    async def _connect(self) -> AsyncWire:
        loop = asyncio.get_running_loop()
        secure: dict[str, Any] = {}
        if self._securing is not None:
            secure = {"ssl": self._securing.context, "server_hostname": self._securing.name}
        if _has_one_address(self._host):
            transport, wire = await loop.create_connection(
                self._make, self._host, self._port, **secure
            )
        else:
            from aiohappyeyeballs import start_connection

            infos = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            sock = await start_connection(infos, happy_eyeballs_delay=_STAGGER, loop=loop)
            transport, wire = await loop.create_connection(self._make, sock=sock, **secure)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it has closed already: the request will tell
            for option in PROBING:
                sock.setsockopt(*option)
        return wire


class AsyncSocketStream:
    """The body of an answer. `read` returns whatever is there, as soon as something is."""

    __slots__ = ("_idle", "_reader", "_request", "_wire", "headers", "status")

    def __init__(
        self, request: Request, reader: AnswerReader, wire: AsyncWire, idle: Idle[AsyncWire]
    ) -> None:
        self._request = request
        self._reader = reader
        self._wire: AsyncWire | None = wire  # None once it was given back or closed
        self._idle = idle
        self.status = reader.status
        self.headers: Mapping[str, str] = reader.headers

    async def read(self) -> bytes:
        wire, reader = self._wire, self._reader
        if wire is None:
            return b""
        try:
            while not (data := wire.taken()) and not reader.done:
                await wire.arrival()
                if self._wire is None:  # closed meanwhile
                    return wire.taken()
        except (HTTPError, OSError) as error:
            if is_over(error):  # see `whole`
                raise
            raise broken_answer(self._request, error) from None
        if reader.done:
            self._release()
        return data

    async def whole(self, timeout: float | None) -> bytes:
        """The body up to its end.

        Raises:
            TimeoutError: it was not complete in time.
            RequestError: the connection broke, or the body is longer than `limits.body`.
        """
        wire = self._wire
        timer = None
        if wire is not None and timeout is not None and not self._reader.done:
            timer = wire.expire_in(timeout)
        try:
            return await read_body_async(self, self._request)
        except BaseException:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def finish(self) -> None:
        # The end of the body comes right behind [DONE]; nobody should wait for it long.
        wire = self._wire
        if wire is None:
            return
        timer = wire.expire_in(0.25)
        try:
            if await self.read():
                self.close()
        except (RequestError, TimeoutError):
            self.close()
        finally:
            timer.cancel()

    def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _release(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            if wire.leave():
                self._idle.put(wire)
            else:
                wire.close()


def _has_one_address(host: str) -> bool:
    """Whether a host needs no race among its addresses."""
    if is_loopback(host):
        return True
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
