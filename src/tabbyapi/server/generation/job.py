"""What an answer of the engine is made of: the job, its steps (text deltas), and its finish."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine import Timings, TokenProbability

__all__ = ["Budget", "Finish", "Job", "MultimodalPrompt", "Sink", "Step", "TextDelta"]


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

    Attributes:
        prompt: token ids; empty with `multimodal`, whose tokens only the engine can count.
        parameters: the engine's, without the prompt.
        constrained: a grammar is among the parameters.
        stop: strings that end the answer.
        stop_ids: token ids that end the answer.
        banned: strings that must not appear, whatever their case.
        min_tokens: tokens before which the model cannot end the answer.
        max_tokens: tokens to generate at most; 0 for no limit but the context.
        loop_window: tokens that are looked at for endless repetition; 0 for none.
        budget: of reasoning.
        eos_text: what a natural end is reported as.
        visible: texts of control tokens that are part of the answer, such as `[TOOL_CALLS]`.
    """

    prompt: list[int]
    parameters: dict[str, Any]
    multimodal: MultimodalPrompt | None = None
    constrained: bool = False
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    banned: tuple[str, ...] = ()
    min_tokens: int = 0
    max_tokens: int = 0
    loop_window: int = 0
    budget: Budget | None = None
    eos_text: str = ""
    visible: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class TextDelta:
    """Text that was generated, usually one token, with the log probabilities of its tokens."""

    text: str
    probabilities: list[TokenProbability] | None = None


@dataclass(slots=True)
class Finish:
    """The end of an answer.

    Attributes:
        eos_reason: why it ended, in the protocol's words; None if the model was unloaded.
        stop_str: the stop string that ended it, or the text of the end-of-sequence token.
        tokens: how many were generated.
        timings: what the prompt and the tokens cost.
    """

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
    """Where the steps of an answer go.

    Attributes:
        put: takes the next step; returns False if the client reads too slowly.
        drain: waits until the client has caught up.
    """

    put: Callable[[Step], bool]
    drain: Callable[[], Awaitable[None]]
