"""Assembly of a completion stream: chunks add up to the `CompletionResponse` of `create`."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from ...types.completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionResponse,
    CompletionStreamChoice,
    CompletionStreamResponse,
)
from ...types.usage import UsageStats
from ..stream import StreamDecoder

__all__ = ["CompletionAssembler", "chunk_of_completion", "completion_stream_decoder"]


class _Choice:
    """What one choice has received so far."""

    __slots__ = ("eos_reason", "finish_reason", "length", "logprobs", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.length = 0
        self.logprobs: list[tuple[int, CompletionLogprobs]] = []  # and the offset of its chunk
        self.finish_reason: str | None = None
        self.eos_reason: str | None = None

    def add(self, choice: CompletionStreamChoice) -> None:
        if choice.logprobs is not None:
            self.logprobs.append((self.length, choice.logprobs))
        if choice.text:
            self.text.append(choice.text)
            self.length += len(choice.text)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if choice.eos_reason is not None:
            self.eos_reason = choice.eos_reason

    def response(self, index: int) -> CompletionChoice:
        return CompletionChoice(
            index, self.finish_reason, self.eos_reason, self._joined(), "".join(self.text)
        )

    def _joined(self) -> CompletionLogprobs | None:
        """The chunks' log probabilities in one, with offsets from the start of the text."""
        if not self.logprobs:
            return None
        joined = CompletionLogprobs([], [], [], [])
        alternatives: list[dict[str, float] | None] = []
        for start, part in self.logprobs:
            joined.tokens += part.tokens
            joined.token_logprobs += part.token_logprobs
            alternatives += part.top_logprobs or [None] * len(part.tokens)
            joined.text_offset += [start + offset for offset in part.text_offset]
        joined.top_logprobs = alternatives
        return joined


class CompletionAssembler:
    """Adds up chunks. `response` may be asked for at any time; it costs the text's length."""

    __slots__ = ("_choices", "_first", "_model", "_usage")

    def __init__(self) -> None:
        self._first: CompletionStreamResponse | None = None
        self._choices: dict[int, _Choice] = {}
        self._model = ""
        self._usage: UsageStats | None = None

    def add(self, chunks: list[CompletionStreamResponse]) -> None:
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

    def response(self) -> CompletionResponse | None:
        first = self._first
        if first is None:
            return None
        return CompletionResponse(
            id=first.id,
            created=first.created,
            model=self._model,
            choices=[self._choices[i].response(i) for i in sorted(self._choices)],
            usage=self._usage,
        )


_decode = msgspec.json.Decoder(CompletionStreamResponse).decode


_is_chunk = attrgetter("choices")  # an error event decodes too, without any


def completion_stream_decoder() -> StreamDecoder[CompletionStreamResponse, CompletionResponse]:
    """Decoder for one stream of `POST /v1/completions`."""
    return StreamDecoder(_decode, _is_chunk, CompletionAssembler())


def chunk_of_completion(response: CompletionResponse) -> CompletionStreamResponse:
    """A plain answer as one chunk, for servers that have streaming switched off."""
    return CompletionStreamResponse(
        id=response.id,
        created=response.created,
        model=response.model,
        choices=[
            CompletionStreamChoice(
                choice.index,
                choice.text,
                choice.finish_reason,
                choice.eos_reason,
                choice.logprobs,
            )
            for choice in response.choices
        ],
        usage=response.usage,
    )
