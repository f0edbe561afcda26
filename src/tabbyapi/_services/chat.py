"""Chat completions: `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, overload

import msgspec

from .._protocol.assembly.chat import chat_stream_decoder, chunk_of_response
from .._protocol.call import Call, Question, StreamCall, encode_body
from .._protocol.decode import Decoder, JSONError
from .._protocol.requests.generation import chat_body, split_request
from .._protocol.requests.messages import has_images
from ..errors import ValidationError
from ..types.chat import ChatCompletionResponse, ChatCompletionStreamResponse
from ..types.messages import MessageLike
from ..types.models import ModelCard
from ..types.params import ChatParams
from ..types.requests import ChatCompletionRequest
from .caller import AsyncService, Service
from .models import card_call
from .resolve_types import resolve_types

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream
    from ..many import AsyncPrompts, ManyParams, MapResult, Prompts
    from ..structured import AsyncParsedStream, Parsed, ParsedStream
    from ..tools import ToolRun
    from ..tools.run import RunParams

__all__ = ["AsyncChat", "Chat", "MessagesLike", "chat_call", "chat_stream_call"]

MessagesLike: TypeAlias = Sequence[MessageLike | msgspec.Raw] | ChatCompletionRequest
"""Messages, or a whole request prepared before."""

T = TypeVar("T")

_PATH = "/v1/chat/completions"
_decode_any = Decoder(ChatCompletionResponse)


def _decode(body: bytes) -> ChatCompletionResponse:
    response = _decode_any(body)
    if not response.choices:  # any JSON object decodes: every field has a default
        raise JSONError("it holds no choices")
    return response


def _sent(messages: MessagesLike, params: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """The body of the request, and the question whether the loaded model sees its images."""
    given, fields = split_request(messages, params)
    body = chat_body(given, resolve_types(fields), stream=stream)
    encoded = encode_body(body)
    if params.get("check_vision") is False or not has_images(body["messages"]):
        return {"body": encoded}

    def then(card: ModelCard | None) -> bytes:
        blind = card and card.parameters and card.parameters.use_vision is False
        if card and blind and body.get("model") in (None, card.id):
            raise ValidationError(
                f"the loaded model, {card.id}, cannot see images, and the server would drop them "
                "in silence. Load one with vision=True, or send them all the same with "
                "check_vision=False",
                field="messages",
            )
        return encoded

    return {"body": encoded, "question": Question(card_call("/v1/model", None), then)}


def chat_call(messages: MessagesLike, params: Mapping[str, Any]) -> Call[ChatCompletionResponse]:
    """The call for one complete answer.

    Raises:
        ValidationError: something the server would refuse, ignore in silence, or fail on.
    """
    return Call(
        method="POST",
        path=_PATH,
        **_sent(messages, params, stream=False),
        decode=_decode,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def chat_stream_call(
    messages: MessagesLike, params: Mapping[str, Any]
) -> StreamCall[ChatCompletionStreamResponse, ChatCompletionResponse]:
    """The call for a streamed answer.

    Raises:
        ValidationError: as `chat_call`.
    """
    return StreamCall(
        method="POST",
        path=_PATH,
        **_sent(messages, params, stream=True),
        decode=_decode,
        decoder=chat_stream_decoder,
        as_chunk=chunk_of_response,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def _once(call: Call[T]) -> Call[T]:
    """The call without the client's retries: `many` makes its own."""
    return msgspec.structs.replace(call, repeatable=False)


class Chat(Service):
    """Chat completions. `client.chat`.

    reply = client.chat.create([system("Be brief."), user("What is SSE?")], max_tokens=80)
    print(reply.text)
    """

    def create(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> ChatCompletionResponse:
        """Answer a conversation, in one piece: `POST /v1/chat/completions`.

        Args:
            messages: the conversation, oldest first: `system(...)`, `user(...)`, dicts. Or a
                prepared `ChatCompletionRequest`, whose fields the other arguments override.
            params: see `ChatParams`. What is not given is not sent.

        Returns:
            The answer: `.text`, `.message` for the next request, `.usage`, all `.choices`.

        Raises:
            ValidationError: refused before sending.
            APIError: the server answered with an error; the subclass and `code` say which.
            RequestError: no usable answer came.
        """
        return self._client.send(chat_call(messages, params))

    def create_stream(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> Stream[ChatCompletionStreamResponse, ChatCompletionResponse]:
        """Stream an answer in chunks, as it is generated. Use it in a `with` block.

            with client.chat.create_stream([user("Hello")]) as stream:
                for text in stream.text_deltas():
                    print(text, end="", flush=True)
                reply = stream.response

        Arguments and errors are those of `create`; while it is read, the stream raises
        `StreamError`s with what had arrived in `partial`.
        """
        return self._client.open_stream(chat_stream_call(messages, params))

    # What builds on chat lives in the layers above, and is imported when it is first used.

    @overload
    def parse(
        self, messages: MessagesLike, tp: type[T], **params: Unpack[ChatParams]
    ) -> Parsed[T]: ...
    @overload
    def parse(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> Parsed[Any]: ...
    def parse(self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]) -> Parsed[Any]:
        """Answer with a value of a Python type: `.value`, with its `.response`.

        Args:
            messages: as for `create`.
            tp: msgspec Struct, dataclass, TypedDict, attrs class, pydantic model, enum, or a
                union or container of them. Its schema constrains the answer.
            params: as for `create`, without other constraints and `n`.

        Raises:
            OutputError: the answer was cut off, or is no value of that type.
            ValidationError: the type has no JSON schema; otherwise as for `create`.
        """
        from ..structured.parsed import constrained, parsed

        return parsed(self.create(messages, **constrained(tp, params)), tp)

    @overload
    def parse_stream(
        self, messages: MessagesLike, tp: type[T], **params: Unpack[ChatParams]
    ) -> ParsedStream[T]: ...
    @overload
    def parse_stream(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> ParsedStream[Any]: ...
    def parse_stream(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> ParsedStream[Any]:
        """Stream the growing value of an answer; `.value` is the typed end.

        Arguments and errors are those of `parse`. Use it in a `with` block.
        """
        from ..structured.parsed import ParsedStream, constrained

        return ParsedStream(self.create_stream(messages, **constrained(tp, params)), tp)

    def map(self, prompts: Prompts, **params: Unpack[ManyParams]) -> Iterator[MapResult[str]]:
        """Answer many prompts, several at a time, in threads.

            for result in client.chat.map(["Hello!", "Goodbye!"], max_tokens=20, progress=True):
                print(result.index, result.error or result.text)

        Args:
            prompts: texts, conversations or prepared requests; any iterable, taken as needed.
            params: as for `create`. See `ManyParams` for those of the run: `concurrency`,
                `ordered`, `progress`, `retries`, `system`.

        Returns:
            An iterator of results, in the order of the prompts. One that failed is among them,
            with its `error`. Closing the iterator starts no further requests.

        Raises:
            ValidationError: a parameter cannot be used.
        """
        from ..many import map_sync

        def ask(messages: Any, own: Mapping[str, Any]) -> tuple[ChatCompletionResponse, str]:
            response = self._client.send(_once(chat_call(messages, own)))
            return response, response.text

        return map_sync(ask, prompts, params)

    @overload
    def parse_many(
        self, prompts: Prompts, tp: type[T], **params: Unpack[ManyParams]
    ) -> Iterator[MapResult[T]]: ...
    @overload
    def parse_many(
        self, prompts: Prompts, tp: Any, **params: Unpack[ManyParams]
    ) -> Iterator[MapResult[Any]]: ...
    def parse_many(
        self, prompts: Prompts, tp: Any, **params: Unpack[ManyParams]
    ) -> Iterator[MapResult[Any]]:
        """Answer many prompts with values of a Python type; see `map` and `parse`.

        An answer that is no value of the type has an `OutputError` as its `error`.
        """
        from ..many import map_sync
        from ..structured.parsed import constrained, parsed

        given = constrained(tp, params)

        def ask(messages: Any, own: Mapping[str, Any]) -> tuple[ChatCompletionResponse, Any]:
            response = self._client.send(_once(chat_call(messages, own)))
            return response, parsed(response, tp).value

        return map_sync(ask, prompts, given)

    def run(self, messages: MessagesLike, **params: Unpack[RunParams]) -> ToolRun:
        """Answer with the help of tools: call them as the model asks, until it answers.

        The calls of a round run at the same time, each in a thread (a single one without a
        `call_timeout` in the caller's); `parallel_tool_calls=False` makes them one by one. What
        goes wrong in a call (unknown tool, wrong arguments, an exception, too late) is told to
        the model as its result.

        Args:
            messages: as for `create`.
            params: as for `create`; `tools` are functions, sync or async. See `RunParams` for
                those of the loop: `max_rounds`, `call_timeout`, `on_call`, `on_result`,
                `raise_errors`.

        Returns:
            The answer as `.response` and `.text`, and all new messages as `.messages`.

        Raises:
            ToolLoopError: a call was cut off or unreadable, or the rounds are used up.
            ValidationError: there are no tools, or one cannot be described; otherwise as for
                `create`.
        """
        from ..tools.run import run

        return run(lambda asked, own: self.create(asked, **own), messages, params)


class AsyncChat(AsyncService):
    """Chat completions. `client.chat` of an `AsyncClient`."""

    async def create(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> ChatCompletionResponse:
        """Answer a conversation; see `Chat.create`."""
        return await self._client.send(chat_call(messages, params))

    def create_stream(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> AsyncStream[ChatCompletionStreamResponse, ChatCompletionResponse]:
        """Stream an answer; see `Chat.create_stream`. Use it in an `async with` block."""
        return self._client.open_stream(chat_stream_call(messages, params))

    @overload
    async def parse(
        self, messages: MessagesLike, tp: type[T], **params: Unpack[ChatParams]
    ) -> Parsed[T]: ...
    @overload
    async def parse(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> Parsed[Any]: ...
    async def parse(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> Parsed[Any]:
        """Answer with a value of a Python type; see `Chat.parse`."""
        from ..structured.parsed import constrained, parsed

        return parsed(await self.create(messages, **constrained(tp, params)), tp)

    @overload
    def parse_stream(
        self, messages: MessagesLike, tp: type[T], **params: Unpack[ChatParams]
    ) -> AsyncParsedStream[T]: ...
    @overload
    def parse_stream(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> AsyncParsedStream[Any]: ...
    def parse_stream(
        self, messages: MessagesLike, tp: Any, **params: Unpack[ChatParams]
    ) -> AsyncParsedStream[Any]:
        """Stream the growing value of an answer; see `Chat.parse_stream`."""
        from ..structured.parsed import AsyncParsedStream, constrained

        return AsyncParsedStream(self.create_stream(messages, **constrained(tp, params)), tp)

    def map(
        self,
        prompts: AsyncPrompts,
        **params: Unpack[ManyParams],
    ) -> AsyncIterator[MapResult[str]]:
        """Answer many prompts, several at a time; see `Chat.map`. Use it with `async for`.

        Closing the iterator cancels the requests that are under way.
        """
        from ..many import map_async

        async def ask(messages: Any, own: Mapping[str, Any]) -> tuple[ChatCompletionResponse, str]:
            response = await self._client.send(_once(chat_call(messages, own)))
            return response, response.text

        return map_async(ask, prompts, params)

    @overload
    def parse_many(
        self,
        prompts: AsyncPrompts,
        tp: type[T],
        **params: Unpack[ManyParams],
    ) -> AsyncIterator[MapResult[T]]: ...
    @overload
    def parse_many(
        self,
        prompts: AsyncPrompts,
        tp: Any,
        **params: Unpack[ManyParams],
    ) -> AsyncIterator[MapResult[Any]]: ...
    def parse_many(
        self,
        prompts: AsyncPrompts,
        tp: Any,
        **params: Unpack[ManyParams],
    ) -> AsyncIterator[MapResult[Any]]:
        """Answer many prompts with values of a Python type; see `Chat.parse_many`."""
        from ..many import map_async
        from ..structured.parsed import constrained, parsed

        given = constrained(tp, params)

        async def ask(messages: Any, own: Mapping[str, Any]) -> tuple[ChatCompletionResponse, Any]:
            response = await self._client.send(_once(chat_call(messages, own)))
            return response, parsed(response, tp).value

        return map_async(ask, prompts, given)

    async def run(self, messages: MessagesLike, **params: Unpack[RunParams]) -> ToolRun:
        """Answer with the help of tools; see `Chat.run`. Hooks may be async too.

        Async tools run in the caller's event loop, others in threads.
        """
        from ..tools.run import run_async

        return await run_async(lambda asked, own: self.create(asked, **own), messages, params)
