"""Assembly of a chat stream: chunks add up to the `ChatCompletionResponse` of `create`."""

from __future__ import annotations

from copy import copy
from operator import attrgetter

from ...types.chat import (
    ChatCompletionRespChoice,
    ChatCompletionResponse,
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponse,
    ChatLogprobs,
    Delta,
    TokenLogprob,
)
from ...types.messages import ChatMessage, FunctionCall, ToolCall
from ..decode import Decoder
from ..stream import StreamDecoder
from .assembler import Assembler, Ending

__all__ = ["chat_stream_decoder", "chunk_of_response"]


class _Choice(Ending):
    """State of one choice: the parts received so far."""

    __slots__ = ("content", "logprobs", "reasoning", "tool_calls")

    def __init__(self) -> None:
        super().__init__()
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] | None = None

    def add(self, choice: ChatCompletionStreamChoice) -> None:
        delta = choice.delta
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning_content:
            self.reasoning.append(delta.reasoning_content)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._add_call(call)
        if choice.logprobs is not None and choice.logprobs.content:
            if self.logprobs is None:
                self.logprobs = []
            self.logprobs += choice.logprobs.content
        if choice.finish_reason is not None or choice.eos_reason is not None:
            self.ended(choice)

    def _add_call(self, piece: ToolCall) -> None:
        """Take in a whole call, as TabbyAPI sends it, or a piece of one.

        A piece belongs to the call with its index, or with its id where there is no index, or
        else to the last call. Name and id may be repeated or left out after the first piece.
        """
        known = self._call_of(piece)
        if known is None:
            function = FunctionCall(piece.function.name, piece.function.arguments)
            self.tool_calls.append(ToolCall(piece.id, function, piece.type, piece.index))
            return
        known.id = known.id or piece.id
        known.function.name = known.function.name or piece.function.name
        known.function.arguments += piece.function.arguments

    def _call_of(self, piece: ToolCall) -> ToolCall | None:
        for call in self.tool_calls:
            if piece.index is not None and call.index is not None:
                if call.index == piece.index:
                    return call
            elif piece.id and call.id == piece.id:
                return call
        if piece.index is None and not piece.id and not piece.function.name and self.tool_calls:
            return self.tool_calls[-1]
        return None

    def response(self, index: int) -> ChatCompletionRespChoice:
        message = ChatMessage(
            "assistant",
            "".join(self.content) or None,
            reasoning_content="".join(self.reasoning) or None,
            tool_calls=[_copy(call) for call in self.tool_calls] or None,
        )
        logprobs = None if self.logprobs is None else ChatLogprobs(list(self.logprobs))
        return ChatCompletionRespChoice(
            index, message, self.finish_reason, self.eos_reason, None, logprobs
        )


def _copy(call: ToolCall) -> ToolCall:
    """A call that later pieces do not change."""
    return ToolCall(call.id, copy(call.function), call.type, call.index)


_decode = Decoder(ChatCompletionStreamResponse)
_is_chunk = attrgetter("choices")  # an error event decodes too, without any


def chat_stream_decoder() -> StreamDecoder[ChatCompletionStreamResponse, ChatCompletionResponse]:
    """Decoder for one stream of `POST /v1/chat/completions`."""
    return StreamDecoder(_decode, _is_chunk, Assembler(_Choice, ChatCompletionResponse))


def chunk_of_response(response: ChatCompletionResponse) -> ChatCompletionStreamResponse:
    """A plain answer as one chunk, for servers that have streaming switched off."""
    return ChatCompletionStreamResponse(
        id=response.id,
        created=response.created,
        model=response.model,
        choices=[
            ChatCompletionStreamChoice(
                index=choice.index,
                delta=Delta(
                    content=choice.message.text or None,
                    reasoning_content=choice.message.reasoning_content,
                    tool_calls=choice.message.tool_calls,
                ),
                finish_reason=choice.finish_reason,
                eos_reason=choice.eos_reason,
                logprobs=choice.logprobs,
            )
            for choice in response.choices
        ],
        usage=response.usage or None,
        timings=response.timings,
    )
