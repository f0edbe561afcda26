"""Asyncio transport over sockets. Safe from many tasks, and from several event loops.

Each event loop has a pool of its own: a connection belongs to the loop that made it. As with the
blocking twin, an idle connection that proves dead is replaced once, outside the retry policy.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial

from ..errors import RequestError
from .aio_connect import connect
from .aio_connection import AsyncConnection, BufferedConnection
from .base import Answer, Request, read_body_async, smallest, time_left
from .connect import Route
from .errors import broken_answer, is_over, is_stale, no_answer, no_answer_in_time
from .http1 import AnswerReader, HTTPError
from .pool import Pool
from .proxy import ProxyError, refusal

__all__ = ["AsyncSocketTransport"]

_BUFFER = 2**16  # larger reads fall out of the processor's caches


class _LoopPool:
    """The idle connections of one event loop, and how it makes new ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop, route: Route) -> None:
        self.loop: weakref.ref[asyncio.AbstractEventLoop] = weakref.ref(loop)
        self.pool: Pool[AsyncConnection] = Pool()
        self.make: Callable[[], AsyncConnection]
        plain = route.tls is None and route.proxy_tls is None
        if plain and isinstance(loop, asyncio.SelectorEventLoop):
            self.make = partial(BufferedConnection, loop, memoryview(bytearray(_BUFFER)))
        else:
            self.make = partial(AsyncConnection, loop)


class AsyncSocketTransport:
    """`AsyncTransport` over connections of its own."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._lock = threading.Lock()  # of the pools
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPool] = (
            weakref.WeakKeyDictionary()
        )
        self._last: _LoopPool | None = None  # the one used last; a look-up costs more

    async def send(self, request: Request) -> Answer:
        stream = await self.open(request)
        wait = smallest(request.read_timeout, time_left(request))
        try:
            body = await stream.whole(wait)
        except TimeoutError:
            limit = smallest(request.timeout.total, request.read_timeout)
            raise no_answer_in_time(
                request, limit, "the answer was not complete", via=self._route.via
            ) from None
        return Answer(stream.status, stream.headers, body)

    async def open(self, request: Request) -> AsyncSocketStream:
        limit = smallest(request.read_timeout, time_left(request))
        deadline = None if limit is None else time.monotonic() + limit
        here = self._of_loop()
        connection = here.pool.take()
        reused = connection is not None
        while True:
            left = limit
            if connection is None:
                connection = await self._connect(here, request, limit)
                if deadline is not None:
                    left = max(deadline - time.monotonic(), 0.0)
            try:
                reader = await connection.ask(
                    self._route.heads.of(request), request.body, request.limits.header, left
                )
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
        return AsyncSocketStream(request, reader, connection, here.pool, self._route.via)

    async def close(self) -> None:
        """Close the idle connections of all loops."""
        here = asyncio.get_running_loop()
        with self._lock:
            pools = [*self._pools.items()]
        for loop, of_loop in pools:
            if loop is here:
                of_loop.pool.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(of_loop.pool.close)

    def _of_loop(self) -> _LoopPool:
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last.loop() is loop:
            return last
        with self._lock:
            found = self._pools.get(loop)
            if found is None:
                for ended in [old for old in self._pools if old.is_closed()]:
                    del self._pools[ended]  # its connections have ended with it
                found = self._pools[loop] = _LoopPool(loop, self._route)
        self._last = found
        return found

    async def _connect(
        self, here: _LoopPool, request: Request, limit: float | None
    ) -> AsyncConnection:
        try:
            async with asyncio.timeout(smallest(request.timeout.connect, limit)):
                return await connect(self._route, here.make)
        except (OSError, ProxyError) as error:  # TimeoutError is an OSError
            failure = self._route.cannot_connect(error)
        raise failure


class AsyncSocketStream:
    """The body of an answer. `read` returns whatever is there, as soon as something is."""

    __slots__ = ("_connection", "_pool", "_reader", "_request", "_via", "headers", "status")

    def __init__(
        self,
        request: Request,
        reader: AnswerReader,
        connection: AsyncConnection,
        pool: Pool[AsyncConnection],
        via: str = "",
    ) -> None:
        self._request = request
        self._reader = reader
        self._connection: AsyncConnection | None = connection  # None: given back, or closed
        self._pool = pool
        self._via = via
        self.status = reader.status
        self.headers: Mapping[str, str] = reader.headers

    async def read(self) -> bytes:
        connection, reader = self._connection, self._reader
        if connection is None:
            return b""
        try:
            while not (data := connection.taken()) and not reader.done:
                await connection.arrival()
                if self._connection is None:  # closed meanwhile
                    return connection.taken()
        except (HTTPError, OSError) as error:
            if is_over(error):  # see `whole`
                raise
            raise broken_answer(self._request, error, via=self._via) from None
        if reader.done:
            self._release()
        return data

    async def whole(self, timeout: float | None) -> bytes:
        """The body up to its end.

        Raises:
            TimeoutError: it was not complete in time.
            RequestError: the connection broke, or the body is longer than `limits.body`.
        """
        connection = self._connection
        timer = None
        if connection is not None and timeout is not None and not self._reader.done:
            timer = connection.expire_in(timeout)
        try:
            return await read_body_async(self, self._request)
        except BaseException:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def finish(self) -> None:
        # The end of the body comes right behind [DONE]; it is not waited for long.
        connection = self._connection
        if connection is None:
            return
        timer = connection.expire_in(0.25)
        try:
            if await self.read():
                self.close()
        except (RequestError, TimeoutError):
            self.close()
        finally:
            timer.cancel()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.leave():
                self._pool.put(connection)
            else:
                connection.close()
