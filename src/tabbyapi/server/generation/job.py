"""What an answer of the engine is made of: the job, the pieces that come, and the ending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine import Event, Native, Progress, Timings, TokenProbability

__all__ = [
    "Budget",
    "Finish",
    "Job",
    "MultimodalPrompt",
    "Sink",
    "Step",
    "StopCheck",
    "TextDelta",
    "ending",
    "prompt_read",
    "repeats",
]

_LOOP_CHECK_EVERY = 32  # tokens


@dataclass(frozen=True)
class Budget:
    """Reasoning is ended after `tokens` by putting in `message` and the closing tag."""

    tokens: int
    message: str
    start: str
    end: str
    begins_inside: bool


@dataclass(frozen=True)
class MultimodalPrompt:
    """A prompt with images: `marker` stands in its text where each of them belongs."""

    text: str
    images: Sequence[str]
    """PNG files in base64."""


@dataclass(frozen=True)
class Job:
    """What to generate.

    `prompt` is empty where the prompt is `pictured`: then only the engine can count its tokens.
    """

    prompt: list[int]
    parameters: dict[str, Any]
    pictured: MultimodalPrompt | None = None
    constrained: bool = False
    stop_ids: frozenset[int] = frozenset()
    banned: tuple[str, ...] = ()
    min_tokens: int = 0
    loop_window: int = 0
    budget: Budget | None = None
    eos_text: str = ""

    @property
    def generate_resumed(self) -> bool:
        """Whether one request to the engine is not enough."""
        return bool(self.banned or self.budget or self.min_tokens) and not self.constrained

    async def engine_prompt(self, native: Native, written: str = "") -> object:
        """The prompt as the engine takes it, with what was already `written` of the answer."""
        if (pictured := self.pictured) is not None:
            return {"prompt_string": pictured.text + written, "multimodal_data": pictured.images}
        if not written:
            return self.prompt
        # Tokenized anew rather than collected: the engine does not report every token's id.
        return self.prompt + await native.tokenize(written, bos=False)


@dataclass(slots=True)
class TextDelta:
    """Text that was generated, usually one token."""

    text: str
    probabilities: list[TokenProbability] | None = None


@dataclass(slots=True)
class Finish:
    """Why generation ended (None: the model was unloaded), and what it cost. Times are ms."""

    eos_reason: str | None
    stop_str: str | None
    tokens: int
    timings: Timings = field(default_factory=Timings)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, as the engine counts them."""
        return self.timings.cache_n + self.timings.prompt_n


Step = list[TextDelta] | Finish


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the steps of an answer go. `put` says whether there is room for another."""

    put: Callable[[Step], bool]
    room: Callable[[], Awaitable[None]]

    async def give(self, step: Step) -> None:
        """Put, and wait for room."""
        if not self.put(step):
            await self.room()


def repeats(tokens: list[int]) -> bool:
    """Whether the tokens are one pattern, repeated at least twice. O(n)."""
    border = [0] * len(tokens)
    size = 0
    for at in range(1, len(tokens)):
        while size and tokens[at] != tokens[size]:
            size = border[size - 1]
        if tokens[at] == tokens[size]:
            size += 1
        border[at] = size
    return bool(tokens) and (len(tokens) - size) * 2 <= len(tokens)


class StopCheck:
    """Ends an answer at a stop token id, or when it goes round in circles."""

    def __init__(self, job: Job) -> None:
        self.stop_ids = job.stop_ids
        self.window = job.loop_window if job.loop_window > 1 else 0
        self.recent: list[int] = []
        self.count = 0

    def verdict(self, event: Event) -> str | None:
        """Why the answer ends with this event, None if it does not."""
        tokens = event.tokens
        if self.stop_ids and not self.stop_ids.isdisjoint(tokens):
            return "stop_token"
        if self.window:
            recent = self.recent
            recent += tokens
            self.count += len(tokens)
            if len(recent) >= self.window and self.count % _LOOP_CHECK_EVERY == 0:
                del recent[: len(recent) - self.window]
                if repeats(recent):
                    return "loop_detected"
        return None


def prompt_read(progress: Progress) -> Timings:
    """What is known of an answer's cost before its end."""
    return Timings(cache_n=progress.cache, prompt_n=progress.total - progress.cache)


def ending(job: Job, event: Event) -> Finish:
    """The end that the engine came to."""
    timings = event.timings or Timings()
    if event.stop_type == "limit":
        return Finish("max_new_tokens", None, event.tokens_predicted, timings)
    if event.stop_type == "word":
        return Finish("stop_string", event.stopping_word, event.tokens_predicted, timings)
    if job.constrained:
        return Finish("end_filter", None, event.tokens_predicted, timings)
    return Finish("stop_token", job.eos_text or None, event.tokens_predicted, timings)
