"""Assembly of a completion stream: chunks add up to the `CompletionResponse` of `create`."""

from __future__ import annotations

from operator import attrgetter

from ...types.completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionResponse,
    CompletionStreamChoice,
    CompletionStreamResponse,
)
from ..decode import Decoder
from ..stream import StreamDecoder
from .assembler import Assembler, Ending

__all__ = ["chunk_of_completion", "completion_stream_decoder"]


class _Choice(Ending):
    """State of one choice: the parts received so far."""

    __slots__ = ("length", "logprobs", "text")

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.length = 0
        self.logprobs: list[tuple[int, CompletionLogprobs]] = []  # and the offset of its chunk

    def add(self, choice: CompletionStreamChoice) -> None:
        if choice.logprobs is not None:
            self.logprobs.append((self.length, choice.logprobs))
        if choice.text:
            self.text.append(choice.text)
            self.length += len(choice.text)
        if choice.finish_reason is not None or choice.eos_reason is not None:
            self.ended(choice)

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


_decode = Decoder(CompletionStreamResponse)
_is_chunk = attrgetter("choices")  # an error event decodes too, without any


def completion_stream_decoder() -> StreamDecoder[CompletionStreamResponse, CompletionResponse]:
    """Decoder for one stream of `POST /v1/completions`."""
    return StreamDecoder(_decode, _is_chunk, Assembler(_Choice, CompletionResponse))


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
        usage=response.usage or None,
        timings=response.timings,
    )
