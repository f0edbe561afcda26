"""Assembly of a chat stream: chunks add up to the `ChatCompletionResponse` of `create`."""

from __future__ import annotations

from operator import attrgetter

import msgspec

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
from ...types.usage import UsageStats
from ..stream import StreamDecoder

__all__ = ["ChatAssembler", "chat_stream_decoder", "chunk_of_response"]


class _Choice:
    """What one choice has received so far."""

    __slots__ = ("content", "eos_reason", "finish_reason", "logprobs", "reasoning", "tool_calls")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] | None = None
        self.finish_reason: str | None = None
        self.eos_reason: str | None = None

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
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if choice.eos_reason is not None:
            self.eos_reason = choice.eos_reason

    def _add_call(self, call: ToolCall) -> None:
        # TabbyAPI sends calls whole. Servers that send them in pieces repeat the index and
        # leave the name out after the first.
        calls = self.tool_calls
        if call.index is not None and not call.function.name:
            for i, known in enumerate(calls):
                if known.index == call.index:
                    arguments = known.function.arguments + call.function.arguments
                    function = FunctionCall(known.function.name, arguments)
                    calls[i] = ToolCall(known.id, function, known.type, known.index)
                    return
        calls.append(call)

    def response(self, index: int) -> ChatCompletionRespChoice:
        message = ChatMessage(
            "assistant",
            "".join(self.content) or None,
            reasoning_content="".join(self.reasoning) or None,
            tool_calls=list(self.tool_calls) or None,
        )
        logprobs = None if self.logprobs is None else ChatLogprobs(list(self.logprobs))
        return ChatCompletionRespChoice(
            index, message, self.finish_reason, self.eos_reason, None, logprobs
        )


class ChatAssembler:
    """Adds up chunks. `response` may be asked for at any time; it costs the answer's length."""

    __slots__ = ("_choices", "_first", "_model", "_usage")

    def __init__(self) -> None:
        self._first: ChatCompletionStreamResponse | None = None
        self._choices: dict[int, _Choice] = {}
        self._model = ""
        self._usage: UsageStats | None = None

    def add(self, chunks: list[ChatCompletionStreamResponse]) -> None:
        if not chunks:
            return
        if self._first is None:
            self._first = chunks[0]
        choices = self._choices
        for chunk in chunks:
            for choice in chunk.choices:
                state = choices.get(choice.index)
                if state is None:
                    state = choices[choice.index] = _Choice()
                state.add(choice)
            if chunk.usage is not None:
                self._usage = chunk.usage
        self._model = chunks[-1].model or self._model

    def response(self) -> ChatCompletionResponse | None:
        first = self._first
        if first is None:
            return None
        return ChatCompletionResponse(
            id=first.id,
            created=first.created,
            model=self._model,
            choices=[self._choices[i].response(i) for i in sorted(self._choices)],
            usage=self._usage,
        )


_decode = msgspec.json.Decoder(ChatCompletionStreamResponse).decode


_is_chunk = attrgetter("choices")  # an error event decodes too, without any


def chat_stream_decoder() -> StreamDecoder[ChatCompletionStreamResponse, ChatCompletionResponse]:
    """Decoder for one stream of `POST /v1/chat/completions`."""
    return StreamDecoder(_decode, _is_chunk, ChatAssembler())


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
        usage=response.usage,
    )
