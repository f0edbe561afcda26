"""Streams of a conversation: a stream of chunks whose end goes into the history."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ..errors import StreamClosedError, StreamError
from ..types.chat import ChatCompletionResponse, ChatCompletionStreamResponse
from .core import Core, Pending

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream
    from .conversation import AsyncConversation, Conversation

__all__ = ["AsyncConversationStream", "ConversationStream"]

Chunk: TypeAlias = ChatCompletionStreamResponse


class _End:
    """Adds what a stream brought to the history, once, whoever ends it."""

    def __init__(self, core: Core, pending: Pending) -> None:
        self._core = core
        self._pending = pending
        self._once = threading.Lock()

    @property
    def reached(self) -> bool:
        return self._once.locked()

    def settle(self, stream: Stream[Any, Any] | AsyncStream[Any, Any], *, complete: bool) -> None:
        if not self._once.acquire(blocking=False):
            return
        try:
            try:
                response = stream.response
            except StreamError:  # nothing arrived
                response = None
            self._core._settle(self._pending, response, complete=complete)
        finally:
            self._core._busy.release()


class ConversationStream:
    """The answer in chunks. Iterate over it; use it in a `with` block, or `close` it.

    What iteration raises is what `Stream` raises; the history is consistent before that.
    """

    def __init__(
        self,
        conversation: Conversation,
        pending: Pending,
        stream: Stream[Chunk, ChatCompletionResponse],
    ) -> None:
        self._end = _End(conversation, pending)
        self._stream = stream

    @property
    def response(self) -> ChatCompletionResponse:
        """The chunks delivered so far as one response; complete after the last chunk.

        Raises:
            StreamError: no chunk has been delivered yet.
        """
        return self._stream.response

    @property
    def closed(self) -> bool:
        """True once the stream has been closed, or has ended."""
        return self._stream.closed

    def __iter__(self) -> Iterator[Chunk]:
        try:
            yield from self._stream
        except StreamError:
            self._end.settle(self._stream, complete=False)
            raise
        self._end.settle(self._stream, complete=True)

    def __next__(self) -> Chunk:
        try:
            return next(self._stream)
        except StopIteration:
            self._end.settle(self._stream, complete=True)
            raise
        except StreamError:
            self._end.settle(self._stream, complete=False)
            raise

    def text_deltas(self) -> Iterator[str]:
        """The text of each chunk that has any, of its first choice."""
        for chunk in self:
            text = chunk.text
            if text:
                yield text

    def until_done(self) -> ChatCompletionResponse:
        """Reads to the end and returns the assembled response."""
        for _ in self:
            pass
        return self.response

    def close(self) -> None:
        """Stops generation on the server at once. Does nothing if the stream has ended."""
        self._stream.close()
        self._end.settle(self._stream, complete=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Left without being closed: the stream itself warns; the conversation must not stay busy.
        if hasattr(self, "_stream") and not self._end.reached:
            self._end.settle(self._stream, complete=False)


class AsyncConversationStream:
    """`ConversationStream`, for asyncio. The request is made on entering the block."""

    def __init__(
        self, conversation: AsyncConversation, content: Any, params: dict[str, Any]
    ) -> None:
        self._conversation = conversation
        self._content = content
        self._params = params
        self._closed = False
        self._stream: AsyncStream[Chunk, ChatCompletionResponse] | None = None
        self._end: _End | None = None

    @property
    def response(self) -> ChatCompletionResponse:
        """The chunks delivered so far as one response; complete after the last chunk.

        Raises:
            StreamError: no chunk has been delivered yet.
        """
        if self._stream is None:
            raise StreamError("nothing has arrived on this stream yet; iterate over it first")
        return self._stream.response

    @property
    def closed(self) -> bool:
        """True once the stream has been closed, or has ended."""
        return self._closed or (self._stream is not None and self._stream.closed)

    async def _open(self) -> Self:
        if self._stream is not None:
            return self
        if self._closed:
            raise StreamClosedError("the stream was closed; open a new one to go on")
        from .._services.chat import chat_stream_call

        conversation = self._conversation
        conversation._begin()
        try:
            pending = conversation._new(self._content)
            plan = conversation._ask(pending, self._params, chat_stream_call)
            self._stream = await conversation._perform(plan)
            self._end = _End(conversation, pending)
        except BaseException:
            conversation._busy.release()
            raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        stream, end = self._stream, self._end
        if stream is None or end is None:
            await self._open()
            return await self.__anext__()
        try:
            return await stream.__anext__()
        except StopAsyncIteration:
            end.settle(stream, complete=True)
            raise
        except BaseException:
            if stream.closed:  # cancelling a read ends the stream too
                end.settle(stream, complete=False)
            raise

    async def text_deltas(self) -> AsyncIterator[str]:
        """The text of each chunk that has any, of its first choice."""
        async for chunk in self:
            text = chunk.text
            if text:
                yield text

    async def until_done(self) -> ChatCompletionResponse:
        """Reads to the end and returns the assembled response."""
        async for _ in self:
            pass
        return self.response

    async def close(self) -> None:
        """Stops generation on the server at once. Does nothing if the stream has ended."""
        self._closed = True
        if self._stream is not None and self._end is not None:
            try:
                await self._stream.close()
            finally:
                self._end.settle(self._stream, complete=False)

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
        # Left without being closed: the stream itself warns; the conversation must not stay busy.
        end, stream = getattr(self, "_end", None), getattr(self, "_stream", None)
        if end is not None and stream is not None and not end.reached:
            end.settle(stream, complete=False)
