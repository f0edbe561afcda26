"""Streams of chunks for asyncio: what `create_stream` of an `AsyncClient` hands out.

See `streams`, whose twin it is; apart, because a program without asyncio should not pay for it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from operator import length_hint
from types import TracebackType
from typing import Any, Self, TypeVar

from .._protocol.call import StreamCall
from .._transport import fork
from .._transport.base import AsyncByteStream, Request
from ..errors import RequestError, StreamTimeout
from .base import BaseStream

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
        self._expired: str | None = None  # the limit that ended a read
        self._last_data = self._started = 0.0

    async def _open(self) -> Self:
        if self._closed:
            raise self._closed_error()
        connect, self._connect = self._connect, None
        if connect is not None:
            loop = self._loop = asyncio.get_running_loop()
            self._started = loop.time()
            self._source, whole = await connect()
            if whole is not None:
                self._plain(whole)
            self._last_data = loop.time()
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
        if self._ended:
            raise StopAsyncIteration
        if self._closed or self._pid != fork.pid:
            raise self._closed_error()
        if self._connect is not None:
            await self._open()
            for chunk in self._batch:
                return chunk
        decoder, source = self._decoder, self._source
        if source is None:
            await self._end()
            raise StopAsyncIteration
        while True:
            if decoder.error is not None:
                raise await self._fail(self._failure(decoder.error))
            if decoder.done:
                await self._end()
                raise StopAsyncIteration
            try:
                data = await source.read()
            except RequestError as error:
                raise await self._fail(self._timed_out() or self._broken(error)) from None
            except asyncio.CancelledError as error:
                await self._fail(error)
                raise
            if not data and self._expired:
                raise await self._fail(self._timed_out() or self._closed_error())
            if not data and self._closed:
                raise self._closed_error()
            chunks = decoder.feed(data) if data else decoder.finish()
            if chunks:
                self._next_batch(chunks)
                self._last_data = self._loop.time()
                return next(self._batch)

    async def text_deltas(self) -> AsyncIterator[str]:
        """The text of each chunk that has any, of its first choice."""
        async for chunk in self:
            text: str = chunk.text  # type: ignore[attr-defined]
            if text:
                yield text

    async def until_done(self) -> R:
        """Reads to the end and returns the assembled response."""
        async for _ in self:
            pass
        return self.response

    async def close(self) -> None:
        """Stops generation on the server at once. Does nothing if the stream has ended."""
        if self._closed:
            return
        self._closed = True
        if not self._ended and not self._elsewhere:
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
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            source.close()
            self._report()

    def _watch(self) -> None:
        """One timer for the whole stream, looked at when it fires: a chunk costs it nothing."""
        self._timer, loop = None, self._loop
        if self._ended or self._closed or self._source is None:
            return
        limits = []
        if self._idle is not None:
            limits.append((self._last_data + self._idle, "idle"))
        if self._total is not None:
            limits.append((self._started + self._total, "total"))
        if not limits:
            return
        when, name = min(limits)
        if loop.time() >= when:
            if length_hint(self._batch):  # the caller is slow, not the server
                self._last_data = loop.time()
                self._timer = loop.call_later(0.05, _look, weakref.ref(self))
                return
            self._expired = name
            self._source.close()
            return
        self._timer = loop.call_at(when, _look, weakref.ref(self))

    def _timed_out(self) -> StreamTimeout | None:
        if self._expired is None:
            return None
        total = self._expired == "total"
        return self._silence((self._total if total else self._idle) or 0.0, total=total)

    async def _fail(self, error: E) -> E:
        await self._end(error)
        return error

    async def _end(self, error: BaseException | None = None) -> None:
        self._ended = True
        self._report(error)
        await self._release(good=error is None)

    async def _release(self, *, good: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._source is not None:
            if good:
                await self._source.finish()
            else:
                self._source.close()


def _look(stream: weakref.ref[AsyncStream[Any, Any]]) -> None:
    """Lets a stream look at its limits. Its timer must not keep it from being collected."""
    there = stream()
    if there is not None:
        there._watch()
