"""`Client` and `AsyncClient`: where a call meets a transport.

Both do the same: make a request of a call, send it, and let protocol/ say what the answer means
and whether to try again. What differs is only the waiting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

from .client_core import ClientCore
from .errors import TabbyError
from .protocol.call import Call, StreamCall
from .services.access import AsyncServices, Services
from .streams import Stream
from .transport.base import (
    AsyncByteStream,
    AsyncTransport,
    Transport,
    deadline_of,
    read_body,
    read_body_async,
)
from .transport.choice import async_transport_for, transport_for
from .transport.request import Answer, Request

if TYPE_CHECKING:
    from os import PathLike

    from .async_streams import AsyncStream
    from .conversation import AsyncConversation, Conversation
    from .tools.run import RunParams
    from .types.messages import ContentLike, MessageLike

__all__ = ["AsyncClient", "Client"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")


def _is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    return status == 200 and headers.get("content-type", "").startswith("text/event-stream")


class Client(ClientCore, Services):
    """A client of a TabbyAPI server. Thread-safe; make a new one after fork.

    Args:
        base_url: the server's root, e.g. "http://localhost:5000"; a trailing `/` or `/v1` is
            fine. Default: TABBY_API_ENDPOINT, then http://localhost:5000.
        api_key: for ordinary routes. Default: TABBY_API_KEY.
        admin_key: for admin routes, and for ordinary ones if there is no other. Default:
            TABBY_ADMIN_KEY.
        bearer_token: sent as `Authorization: Bearer` where none of the others applies.
        timeout: seconds for a whole call, or a `Timeout`. Default: no limit on a healthy call.
        retry: a `RetryPolicy`, a number of retries, or an object of one's own (see `Retry`).
        headers: added to every request.
        limits: how large an answer may be before it is given up, see `Limits`.
        http_client: a `urllib3.PoolManager`, or an object with the three verbs of `Transport`.

    Raises:
        ValidationError: an argument that cannot be used.
    """

    @cached_property
    def _transport(self) -> Transport:
        return transport_for(self.base_url, self._http_client)

    def request(self, call: Call[T]) -> T:
        """Sends a call and returns its result, trying again as the retry policy says.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        request = self._request_of(call)
        attempt = 1
        while True:
            try:
                return self._result(call, request, self._transport.send(request))
            except TabbyError as error:
                wait = self._wait_after(call, error, attempt)
            attempt += 1
            time.sleep(wait)

    def open_stream(self, call: StreamCall[C, R]) -> Stream[C, R]:
        """Sends a call whose answer is a stream; returns once the server has accepted it.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        request = self._request_of(call)
        attempt = 1
        while True:
            try:
                source = self._transport.open(request)
                if _is_event_stream(source.status, source.headers):
                    return Stream(call, request.timeout, source, max_event=self._limits.event)
                body = read_body(source, request, deadline_of(request))
                answer = Answer(source.status, source.headers, body)
                return Stream(call, request.timeout, None, self._result(call, request, answer))
            except TabbyError as error:
                wait = self._wait_after(call, error, attempt)
            attempt += 1
            time.sleep(wait)

    def conversation(
        self,
        system: ContentLike | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        on_overflow: Literal["truncate", "summarize", "raise"] = "truncate",
        keep_partial: bool = True,
        context_size: int | None = None,
        summary_prompt: str | None = None,
        **params: Unpack[RunParams],
    ) -> Conversation:
        """A conversation that keeps its history, and keeps it within the model's context.

        Args:
            system: the system message. It is sent with every request, whatever is left out.
            messages: what was said before, if anything.
            on_overflow: what happens when the history no longer fits: "truncate" leaves out the
                oldest turns, "summarize" has the model write a summary of them first, "raise"
                raises `ContextLengthError`. `conversation.messages` keeps everything.
            keep_partial: whether a stream that breaks or is closed leaves what has arrived in
                the history; otherwise its whole turn is dropped.
            context_size: tokens of prompt and answer together. Default: asked of the server
                once, when the conversation is longer than 512 tokens.
            summary_prompt: how the summary is asked for. Default: see
                `tabbyapi.conversation.fitting.SUMMARY_PROMPT`.
            params: parameters of every request, as for `client.chat.create` and `run`; those
                given to `send` go before them.

        Raises:
            ValidationError: an argument that cannot be used.
        """
        from .conversation import Conversation
        from .conversation.core import begun

        return Conversation(
            self,
            *begun(
                system,
                messages,
                params,
                on_overflow=on_overflow,
                keep_partial=keep_partial,
                context_size=context_size,
                summary_prompt=summary_prompt,
            ),
        )

    def load_conversation(
        self, path: str | PathLike[str], **changes: Unpack[RunParams]
    ) -> Conversation:
        """A conversation that `save` wrote, to go on with.

        Args:
            path: the file.
            changes: parameters that differ from the saved ones, e.g. `tools`, whose functions
                no file can hold.

        Raises:
            ValidationError: the file is no saved conversation, or of a newer version.
            OSError: it cannot be read.
        """
        from .conversation import Conversation

        return Conversation.load(path, self, **changes)

    def close(self) -> None:
        """Closes idle connections. The client cannot be used afterwards."""
        if not self._closed:
            self._closed = True
            if "_transport" in self.__dict__:
                self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(ClientCore, AsyncServices):
    """`Client`, for asyncio. Safe to use from many tasks.

    The arguments are those of `Client`; `http_client` is an `aiohttp.ClientSession`, or an
    object with the three verbs of `AsyncTransport`.
    """

    @cached_property
    def _transport(self) -> AsyncTransport:
        return async_transport_for(self.base_url, self._http_client)

    async def request(self, call: Call[T]) -> T:
        """Sends a call and returns its result, trying again as the retry policy says.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        request = self._request_of(call)
        attempt = 1
        while True:
            try:
                return self._result(call, request, await self._transport.send(request))
            except TabbyError as error:
                wait = self._wait_after(call, error, attempt)
            attempt += 1
            await _pause(wait)

    def open_stream(self, call: StreamCall[C, R]) -> AsyncStream[C, R]:
        """A stream that sends its call when it is entered or awaited.

        Raises:
            TabbyError: then; see `tabbyapi.errors`.
        """
        from .async_streams import AsyncStream  # asyncio is slow to import

        request = self._request_of(call)

        async def connect() -> tuple[AsyncByteStream | None, R | None]:
            return await self._connect(call, request)

        return AsyncStream(call, request.timeout, connect, self._limits.event)

    async def _connect(
        self, call: StreamCall[C, R], request: Request
    ) -> tuple[AsyncByteStream | None, R | None]:
        attempt = 1
        while True:
            try:
                source = await self._transport.open(request)
                if _is_event_stream(source.status, source.headers):
                    return source, None
                body = await read_body_async(source, request)
                answer = Answer(source.status, source.headers, body)
                return None, self._result(call, request, answer)
            except TabbyError as error:
                wait = self._wait_after(call, error, attempt)
            attempt += 1
            await _pause(wait)

    def conversation(
        self,
        system: ContentLike | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        on_overflow: Literal["truncate", "summarize", "raise"] = "truncate",
        keep_partial: bool = True,
        context_size: int | None = None,
        summary_prompt: str | None = None,
        **params: Unpack[RunParams],
    ) -> AsyncConversation:
        """A conversation that keeps its history; see `Client.conversation`. No request is made."""
        from .conversation import AsyncConversation
        from .conversation.core import begun

        return AsyncConversation(
            self,
            *begun(
                system,
                messages,
                params,
                on_overflow=on_overflow,
                keep_partial=keep_partial,
                context_size=context_size,
                summary_prompt=summary_prompt,
            ),
        )

    def load_conversation(
        self, path: str | PathLike[str], **changes: Unpack[RunParams]
    ) -> AsyncConversation:
        """A conversation that `save` wrote; see `Client.load_conversation`."""
        from .conversation import AsyncConversation

        return AsyncConversation.load(path, self, **changes)

    async def close(self) -> None:
        """Closes idle connections. The client cannot be used afterwards."""
        if not self._closed:
            self._closed = True
            if "_transport" in self.__dict__:
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


async def _pause(seconds: float) -> None:
    from asyncio import sleep  # asyncio is slow to import

    await sleep(seconds)
