"""Streams of chunks for asyncio: what `create_stream` of an `AsyncClient` returns.

The twin of `sync`, in a file of its own because asyncio is slow to import; the states are in
`base`.
One timer watches all limits of a stream: it is looked at when it fires, and set anew if more has
come in the meantime, so that a chunk costs it nothing.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

from .._protocol.call import StreamCall
from .._transport import fork
from .._transport.base import AsyncByteStream, Request
from ..errors import RequestError
from .base import BaseStream, Limit, State

__all__ = ["AsyncStream"]

C = TypeVar("C")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


class AsyncStream(BaseStream[C, R]):
    """`Stream`, for asyncio: `async with client.chat.create_stream(...) as stream`.

    The request is sent on entering the block, or by awaiting the stream itself.
    """

    def __init__(
        self,
        call: StreamCall[C, R],
        request: Request,
        connect: Callable[[], Awaitable[tuple[AsyncByteStream | None, R | None]]],
    ) -> None:
        super().__init__(call, request, call.decoder())
        self._connect: Callable[[], Awaitable[tuple[AsyncByteStream | None, R | None]]] | None = (
            connect
        )
        self._source: AsyncByteStream | None = None
        self._loop: asyncio.AbstractEventLoop  # once it is open
        self._timer: asyncio.TimerHandle | None = None
        self._expired: Limit | None = None  # the limit that ended a read
        self._reading = False  # a task waits for the server, and not the server for it

    async def _open(self) -> Self:
        if self._state is State.CLOSED:
            raise self._closed_error()
        connect, self._connect = self._connect, None
        if connect is not None:
            loop = self._loop = asyncio.get_running_loop()
            if self._total is not None:
                self._deadline = loop.time() + self._total
            self._source, whole = await connect()
            if whole is not None:
                self._plain(whole)
            self._begin(loop.time())
            self._watch()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> C:
        # One coroutine for all of it: each is made and woken again for every chunk.
        for chunk in self._batch:
            return chunk
        if self._state is not State.OPEN or self._pid != fork.pid:
            if self._state is State.ENDED:
                raise StopAsyncIteration
            raise self._closed_error()
        if self._connect is not None:
            await self._open()
            for chunk in self._batch:
                return chunk
        decoder, source = self._decoder, self._source
        if source is None:
            await self._end()
            raise StopAsyncIteration
        self._last_data = self._last_byte = self._loop.time()
        while True:
            if decoder.error is not None:
                raise await self._fail(self._failure(decoder.error))
            if decoder.done:
                await self._end()
                raise StopAsyncIteration
            try:
                self._reading = True
                data = await source.read()
            except RequestError as error:
                failure = self._timeout(self._expired) if self._expired else self._broken(error)
                raise await self._fail(failure) from None
            except asyncio.CancelledError as error:
                await self._fail(error)
                raise
            finally:
                self._reading = False
            if not data and self._expired is not None:
                raise await self._fail(self._timeout(self._expired))
            if not data and self.closed:
                raise self._closed_error()
            chunks = decoder.feed(data) if data else decoder.finish()
            if decoder.pings != self._pings:
                self._heard_ping()
            if chunks:
                self._next_batch(chunks)
                return next(self._batch)
            self._last_byte = self._loop.time()

    async def text_deltas(self) -> AsyncIterator[str]:
        """The text of each chunk that has any, of its first choice."""
        async for chunk in self:
            text: str = chunk.text  # type: ignore[attr-defined]
            if text:
                yield text

    async def until_done(self) -> R:
        """Read to the end and returns the assembled response."""
        async for _ in self:
            pass
        return self.response

    async def close(self) -> None:
        """Stop generation on the server at once. Does nothing if the stream has ended."""
        if self._state is not State.OPEN:
            return
        self._state = State.CLOSED
        if not self._elsewhere:
            await self._release(good=self._decoder.done)
            self._report()

    aclose = close

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None and self._warn_if_open():
            self._state = State.CLOSED
            self._stop_timer()
            source.close()
            self._report()

    def _watch(self) -> None:
        """End the read if a limit has been exceeded; set the timer for the next one."""
        self._timer, loop = None, self._loop
        if self._state is not State.OPEN or self._source is None:
            return
        now = loop.time()
        if not self._reading:
            self._last_data = self._last_byte = now
        limit = self._next_limit()
        if limit is None:
            return
        if limit[0] <= now:
            self._expired = limit[1]
            self._source.close()
            return
        self._timer = loop.call_at(limit[0], _look, weakref.ref(self))

    def _heard_ping(self) -> None:
        first = self._pings == 0
        self._pinged(self._loop.time())
        if first:  # from now on there is a limit that may come sooner
            self._stop_timer()
            self._last_byte = self._last_ping
            self._watch()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _fail(self, error: E) -> E:
        await self._end(error)
        return error

    async def _end(self, error: BaseException | None = None) -> None:
        if self._state is State.OPEN:
            self._state = State.ENDED
        self._report(error)
        await self._release(good=error is None)

    async def _release(self, *, good: bool) -> None:
        self._stop_timer()
        if self._source is not None:
            if good:
                await self._source.finish()
            else:
                self._source.close()


def _look(stream: weakref.ref[AsyncStream[Any, Any]]) -> None:
    """Let a stream look at its limits. Its timer must not keep it from being collected."""
    there = stream()
    if there is not None:
        there._watch()
