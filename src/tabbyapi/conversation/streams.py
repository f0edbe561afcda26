"""Streams of a conversation: the chunks of an answer that is added to the history at its end.

States: new (asyncio only: nothing is sent before the block is entered), open, ended. The last
chunk, an error, `close` or garbage collection ends a stream, whichever comes first. Ending it
adds the answer to the history and releases the conversation, exactly once, and before an error
reaches the caller: `Ending` keeps that invariant.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ..errors import StreamClosedError, StreamError
from ..types.chat import ChatCompletionResponse, ChatCompletionStreamResponse

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream

__all__ = ["AsyncConversationStream", "Connect", "ConversationStream", "Ending"]

Chunk: TypeAlias = ChatCompletionStreamResponse
ChatStream: TypeAlias = "Stream[Chunk, ChatCompletionResponse]"
AsyncChatStream: TypeAlias = "AsyncStream[Chunk, ChatCompletionResponse]"


class Ending:
    """Runs `settle` once, with the response so far (None if nothing arrived).

    Args:
        settle: takes the response and `complete`, True if the stream came to its end.
    """

    def __init__(self, settle: Callable[[ChatCompletionResponse | None, bool], None]) -> None:
        self._settle = settle
        self._once = threading.Lock()

    @property
    def reached(self) -> bool:
        """True once the stream has ended."""
        return self._once.locked()

    def reach(self, stream: ChatStream | AsyncChatStream, *, complete: bool) -> None:
        if not self._once.acquire(blocking=False):
            return
        try:
            response = stream.response
        except StreamError:  # nothing arrived
            response = None
        self._settle(response, complete)


Connect: TypeAlias = Callable[[], Awaitable[tuple[AsyncChatStream, Ending]]]
"""Sends the request of a stream."""


class ConversationStream:
    """The answer in chunks. Iterate over it; use it in a `with` block, or `close` it.

    Iteration raises what `Stream` raises; the history is consistent by then.
    """

    def __init__(self, stream: ChatStream, ending: Ending) -> None:
        self._stream = stream
        self._ending = ending

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
        return self

    def __next__(self) -> Chunk:
        try:
            return next(self._stream)
        except StopIteration:
            self._ending.reach(self._stream, complete=True)
            raise
        except StreamError:
            self._ending.reach(self._stream, complete=False)
            raise

    def text_deltas(self) -> Iterator[str]:
        """The text of each chunk that has any, of its first choice."""
        for chunk in self:
            text = chunk.text
            if text:
                yield text

    def until_done(self) -> ChatCompletionResponse:
        """Read to the end and return the assembled response."""
        for _ in self:
            pass
        return self.response

    def close(self) -> None:
        """Stop generation on the server at once. Does nothing if the stream has ended."""
        self._stream.close()
        self._ending.reach(self._stream, complete=False)

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
        # Dropped without close: the inner stream warns; the conversation must not stay busy.
        if hasattr(self, "_ending") and not self._ending.reached:
            self._ending.reach(self._stream, complete=False)


class AsyncConversationStream:
    """`ConversationStream`, for asyncio. The request is sent on entering the block.

    Args:
        connect: sends the request.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._closed = False
        self._stream: AsyncChatStream | None = None
        self._ending: Ending | None = None

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
        if self._stream is None:
            if self._closed:
                raise StreamClosedError("the stream was closed; open a new one to go on")
            self._stream, self._ending = await self._connect()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        stream, ending = self._stream, self._ending
        if stream is None or ending is None:
            await self._open()
            return await self.__anext__()
        try:
            return await stream.__anext__()
        except StopAsyncIteration:
            ending.reach(stream, complete=True)
            raise
        except BaseException:
            if stream.closed:  # cancelling a read ends the stream too
                ending.reach(stream, complete=False)
            raise

    async def text_deltas(self) -> AsyncIterator[str]:
        """The text of each chunk that has any, of its first choice."""
        async for chunk in self:
            text = chunk.text
            if text:
                yield text

    async def until_done(self) -> ChatCompletionResponse:
        """Read to the end and return the assembled response."""
        async for _ in self:
            pass
        return self.response

    async def close(self) -> None:
        """Stop generation on the server at once. Does nothing if the stream has ended."""
        self._closed = True
        if self._stream is not None and self._ending is not None:
            try:
                await self._stream.close()
            finally:
                self._ending.reach(self._stream, complete=False)

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
        # Dropped without close: the inner stream warns; the conversation must not stay busy.
        ending, stream = getattr(self, "_ending", None), getattr(self, "_stream", None)
        if ending is not None and stream is not None and not ending.reached:
            ending.reach(stream, complete=False)
