"""Answers of `POST /v1/completions`, streamed and not.

As in `chat`, every field has a default, and the structs of a stream stay out of the garbage
collector.
"""

import msgspec

from .base import Value
from .usage import Timings, UsageStats

__all__ = [
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionResponse",
    "CompletionStreamChoice",
    "CompletionStreamResponse",
]


class CompletionLogprobs(Value, gc=False):
    """Log probabilities in OpenAI's legacy shape: four lists, one entry for each token.

    Attributes:
        tokens: the text of each token.
        token_logprobs: its log probability.
        top_logprobs: the likeliest tokens there, by their text; None where there are none.
        text_offset: where each token starts, in characters. In a response it counts from the
            start of the text; in a chunk of a stream, from the start of that chunk.
    """

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] = []


class CompletionChoice(Value):
    """One text.

    Attributes:
        index: with `n` answers to several prompts, `prompt * n + k`.
        finish_reason: "stop" or "length".
        eos_reason: why generation ended: "stop_token", "stop_string", "max_new_tokens",
            "end_filter", "loop_detected". None if it was cut short because the model was
            unloaded, or in a stream with usage, where the server leaves it out.
        text: the generated text, without the prompt; "" if it is all white space.
    """

    index: int = 0
    finish_reason: str | None = None
    eos_reason: str | None = None
    logprobs: CompletionLogprobs | None = None
    text: str = ""


class CompletionResponse(Value):
    """The answer to a completion request.

    Attributes:
        model: name of the model that answered, whatever was asked for.
        choices: `n` texts for each prompt, in the order of the prompts.
        usage: counts and timings; all 0 and None, and False in an `if`, where the server sent
            none. Of several prompts, the server counts only the first.
        timings: what llama.cpp measured, where the server sends it.
    """

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[CompletionChoice] = []
    usage: UsageStats = msgspec.field(default_factory=UsageStats)
    timings: Timings | None = None

    def _repr_markdown_(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The first choice's text, "" if there is none."""
        return self.choices[0].text if self.choices else ""

    @property
    def texts(self) -> list[str]:
        """The text of every choice, in order."""
        return [choice.text for choice in self.choices]

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else None


class CompletionStreamChoice(Value, gc=False):
    """One choice's part of a chunk; `finish_reason` is None until the choice ends."""

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    eos_reason: str | None = None
    logprobs: CompletionLogprobs | None = None


class CompletionStreamResponse(Value, gc=False):
    """One chunk of a stream. `usage` comes with the last one only."""

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    # In this stream, and nowhere else, the server calls it so.
    model: str = msgspec.field(name="model_name", default="")
    choices: list[CompletionStreamChoice] = []
    usage: UsageStats | None = None
    timings: Timings | None = None

    @property
    def text(self) -> str:
        """New text of the first choice in this chunk (its index may not be 0), or ""."""
        return self.choices[0].text if self.choices else ""
