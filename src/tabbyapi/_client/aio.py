"""`AsyncClient`: sends calls over the asyncio transport, and awaits the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, Unpack, overload

from .._protocol import observing
from .._protocol.call import Call, StreamCall
from .._transport.base import (
    Answer,
    AsyncByteStream,
    AsyncTransport,
    Request,
    begun,
    is_event_stream,
    read_body_async,
    smallest,
    time_left,
)
from .._transport.errors import no_answer_in_time
from .._transport.factory import async_transport_for
from ..errors import TabbyError
from .base import BaseClient
from .custom import RequestOptions, custom_call

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from .._services.auth import AsyncAuth
    from .._services.chat import AsyncChat
    from .._services.completions import AsyncCompletions
    from .._services.embeddings import AsyncEmbeddings
    from .._services.health import AsyncHealth
    from .._services.lora import AsyncLora
    from .._services.models import AsyncModels
    from .._services.sampling import AsyncSampling
    from .._services.templates import AsyncTemplates
    from .._services.tokens import AsyncTokens
    from .._streaming.aio import AsyncStream
    from ..conversation import AsyncConversation
    from ..conversation.settings import ConversationOptions
    from ..tools.run import RunParams
    from ..types.messages import ContentLike

__all__ = ["AsyncClient"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")
AnyCall = TypeVar("AnyCall", bound=Call[Any])


class AsyncClient(BaseClient):
    """`Client`, for asyncio. Safe to use from many tasks.

    The arguments are those of `Client`; `transport` is an `AsyncTransport`. One client may be used
    from several event loops, in threads of their own: each has its own connections.
    """

    chat: AsyncChat
    """Chat completions."""
    completions: AsyncCompletions
    """Text completions."""
    embeddings: AsyncEmbeddings
    """Vectors of texts."""
    models: AsyncModels
    """Listing, loading, unloading and downloading models."""
    lora: AsyncLora
    """LoRA adapters."""
    templates: AsyncTemplates
    """Chat templates."""
    tokens: AsyncTokens
    """Counting, encoding and decoding tokens."""
    sampling: AsyncSampling
    """Sampler overrides."""
    health: AsyncHealth
    """The server's health."""
    auth: AsyncAuth
    """What the client's key may do."""
    _prefix: ClassVar[str] = "Async"
    _transport: AsyncTransport

    def _make_transport(self, given: object | None, **connection: Any) -> AsyncTransport:
        return async_transport_for(self.base_url, given, **connection)

    async def send(self, call: Call[T], *, seen: list[tuple[Answer, float]] | None = None) -> T:
        """Send a call and return its result; see `Client.send`.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        if observing.observer is None or (operation := self._observed(call)) is None:
            return await self._send(call, seen)
        with operation:
            result = await self._send(operation.call(call), seen)
        operation.end(result)
        return result

    async def _send(self, call: Call[T], seen: list[tuple[Answer, float]] | None) -> T:
        call = await self._asked(call)
        request = self._request_of(call)
        attempt = 1
        while True:
            answer = None
            started = time.perf_counter()
            try:
                if self._hooks:
                    await self._tell("request", request)
                answer = await self._transport.send(request)
                if self._hooks:
                    await self._tell("response", request, answer)
                return self._result(call, request, answer, started, seen)
            except TabbyError as error:
                failure = error
                wait = self._wait_after(
                    request, error, attempt, started, answered=answer is not None
                )
            await self._tell("retry", request, failure, wait)
            attempt += 1
            await _pause(wait)

    async def _asked(self, call: AnyCall) -> AnyCall:
        """The call with its question answered, if it has one."""
        if call.question is None:
            return call
        card = self._remembered()
        if card is None:
            with suppress(TabbyError):
                card = await self.send(call.question.ask)
                self._card = monotonic(), card
        return call.answered(card)

    def open_stream(
        self, call: StreamCall[C, R], *, seen: list[tuple[Answer, float]] | None = None
    ) -> AsyncStream[C, R]:
        """A stream that sends its call when it is entered or awaited; see `Client.open_stream`.

        Raises:
            TabbyError: then; see `tabbyapi.errors`.
        """
        from .._streaming.aio import AsyncStream  # asyncio is slow to import

        request = self._request_of(call)

        async def connect() -> tuple[AsyncByteStream | None, R | None]:
            if observing.observer is not None and (operation := self._observed(call)) is not None:
                with operation:
                    asked = await self._asked(operation.call(call))
                    found = await self._connect(asked, self._request_of(asked), stream, seen)
                stream._observe(operation)
                return found
            if call.question is None:
                return await self._connect(call, begun(request), stream, seen)
            asked = await self._asked(call)
            return await self._connect(asked, self._request_of(asked), stream, seen)

        stream = AsyncStream(call, request, connect)
        return stream

    async def _connect(
        self,
        call: StreamCall[C, R],
        request: Request,
        stream: AsyncStream[C, R],
        seen: list[tuple[Answer, float]] | None,
    ) -> tuple[AsyncByteStream | None, R | None]:
        attempt = 1
        while True:
            answer = None
            started = time.perf_counter()
            try:
                await self._tell("request", request)
                source = await self._transport.open(request)
                if is_event_stream(source.status, source.headers):
                    answer = Answer(source.status, source.headers, b"")
                    stream._on_end = self._ended(request, answer, started)
                    if seen is not None:
                        seen.append((answer, time.perf_counter() - started))
                    await self._tell("response", request, answer, undo=source.close)
                    return source, None
                answer = await _rest_of(source, request)
                await self._tell("response", request, answer)
                return None, self._result(call, request, answer, started, seen)
            except TabbyError as error:
                failure = error
                wait = self._wait_after(
                    request, error, attempt, started, answered=answer is not None
                )
            await self._tell("retry", request, failure, wait)
            attempt += 1
            await _pause(wait)

    async def _tell(
        self, event: str, *facts: object, undo: Callable[[], object] | None = None
    ) -> None:
        """Call the hooks of an event, which may be async; `undo` what one of them breaks off."""
        if not self._hooks:
            return
        try:
            for hook in self._hooks.get(event, ()):
                waiting = hook(*facts)
                if hasattr(waiting, "__await__"):
                    await waiting
        except BaseException:
            if undo is not None:
                undo()
            raise

    @overload
    async def request(
        self, method: str, path: str, *, cast_to: type[T], **options: Unpack[RequestOptions]
    ) -> T: ...
    @overload
    async def request(
        self, method: str, path: str, *, cast_to: Any = ..., **options: Unpack[RequestOptions]
    ) -> Any: ...
    async def request(
        self, method: str, path: str, *, cast_to: Any = Any, **options: Unpack[RequestOptions]
    ) -> Any:
        """Call a route that this client has no method for; see `Client.request`."""
        return await self.send(custom_call(method, path, cast_to, options))

    def conversation(
        self, system: ContentLike | None = None, **options: Unpack[ConversationOptions]
    ) -> AsyncConversation:
        """A conversation that keeps its history; see `Client.conversation`. No request is made."""
        from ..conversation import AsyncConversation

        return AsyncConversation.begin(self, system, options)

    def load_conversation(
        self, path: str | PathLike[str], **changes: Unpack[RunParams]
    ) -> AsyncConversation:
        """A conversation that `save` wrote; see `Client.load_conversation`."""
        from ..conversation import AsyncConversation

        return AsyncConversation.load(path, self, **changes)

    async def close(self) -> None:
        """Close idle connections. The client cannot be used afterwards, nor can its copies."""
        if self._close():
            await self._transport.close()

    aclose = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _rest_of(source: AsyncByteStream, request: Request) -> Answer:
    """The answer of a server that does not stream, or refused to."""
    from asyncio import timeout  # asyncio is slow to import

    try:
        async with timeout(smallest(request.read_timeout, time_left(request))):
            body = await read_body_async(source, request)
    except BaseException as error:
        source.close()
        if isinstance(error, TimeoutError) and not isinstance(error, TabbyError):
            limit = smallest(request.timeout.total, request.read_timeout)
            raise no_answer_in_time(request, limit, "the answer was not complete") from None
        raise
    return Answer(source.status, source.headers, body)


async def _pause(seconds: float) -> None:
    from asyncio import sleep  # asyncio is slow to import

    await sleep(seconds)
