"""Chat completions: `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import msgspec

from ..protocol.call import Call, StreamCall, encode_body
from ..protocol.chat_stream import chat_stream_decoder, chunk_of_response
from ..protocol.generation import chat_body
from ..types.chat import ChatCompletionResponse, ChatCompletionStreamResponse
from ..types.messages import MessageLike
from ..types.params import ChatParams
from ..types.requests import ChatCompletionRequest
from .caller import AsyncCaller, Caller

if TYPE_CHECKING:
    from ..streams import AsyncStream, Stream

__all__ = ["AsyncChat", "Chat", "MessagesLike", "chat_call", "chat_stream_call"]

MessagesLike: TypeAlias = Sequence[MessageLike | msgspec.Raw] | ChatCompletionRequest
"""Messages, or a whole request prepared before."""

_PATH = "/v1/chat/completions"
_decode_any = msgspec.json.Decoder(ChatCompletionResponse).decode


def _decode(body: bytes) -> ChatCompletionResponse:
    response = _decode_any(body)
    if not response.choices:  # any JSON object decodes: every field has a default
        raise ValueError("it holds no choices")
    return response


def chat_call(messages: MessagesLike, params: Mapping[str, Any]) -> Call[ChatCompletionResponse]:
    """The call for one complete answer.

    Raises:
        ValidationError: something the server would refuse, ignore in silence, or fail on.
    """
    return Call(
        method="POST",
        path=_PATH,
        body=encode_body(chat_body(messages, params, stream=False)),
        decode=_decode,
        timeout=params.get("timeout"),
        patient=True,
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
        body=encode_body(chat_body(messages, params, stream=True)),
        decode=_decode,
        decoder=chat_stream_decoder,
        as_chunk=chunk_of_response,
        timeout=params.get("timeout"),
        patient=True,
    )


class Chat:
    """Multi-turn conversations with a model. `client.chat`."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    def create(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> ChatCompletionResponse:
        """One complete answer to a conversation.

        Args:
            messages: the conversation, oldest first: `system(...)`, `user(...)`, dicts. Or a
                prepared `ChatCompletionRequest`, whose fields the other arguments override.
            params: see `ChatParams`. What is not given is not sent.

        Raises:
            ValidationError: refused before sending.
            APIError: the server said no; the subclass and `code` say how.
            RequestError: no usable answer came.
        """
        return self._client.request(chat_call(messages, params))

    def create_stream(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> Stream[ChatCompletionStreamResponse, ChatCompletionResponse]:
        """The answer in chunks, as it is generated. Use it in a `with` block.

        Arguments and errors are those of `create`; while it is read, the stream raises
        `StreamError`s with what had arrived in `partial`.
        """
        return self._client.open_stream(chat_stream_call(messages, params))


class AsyncChat:
    """Multi-turn conversations with a model. `client.chat` of an `AsyncClient`."""

    def __init__(self, client: AsyncCaller) -> None:
        self._client = client

    async def create(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> ChatCompletionResponse:
        """One complete answer; see `Chat.create`."""
        return await self._client.request(chat_call(messages, params))

    def create_stream(
        self, messages: MessagesLike, **params: Unpack[ChatParams]
    ) -> AsyncStream[ChatCompletionStreamResponse, ChatCompletionResponse]:
        """The answer in chunks; see `Chat.create_stream`. Use it in an `async with` block."""
        return self._client.open_stream(chat_stream_call(messages, params))
