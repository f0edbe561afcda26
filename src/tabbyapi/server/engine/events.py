"""What the engine says: the events of `/completion`, and its two ways to fail.

Cost of an event: one typed decode of the fields we need.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "EngineDied",
    "EngineRefusal",
    "Event",
    "Progress",
    "Timings",
    "TokenProbability",
    "decode_event",
    "refusal",
]


class EngineDied(Exception):
    """The engine's process went away while it was answering.

    Attributes:
        unreached: there was no connection: it has not seen the request.
        lost: nothing listens at its address, or the address is gone.
    """

    def __init__(self, message: str, *, unreached: bool = False, lost: bool = False) -> None:
        super().__init__(message)
        self.unreached, self.lost = unreached, lost


class EngineRefusal(Exception):
    """The engine refused the request. `kind` is its error type, `status` its HTTP status."""

    def __init__(self, message: str, *, status: int = 500, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind

    @property
    def overflow(self) -> bool:
        """True if the context was too small."""
        return self.kind == "exceed_context_size_error"

    @property
    def crowded(self) -> bool:
        """True if answers that run at the same time filled the context that they share."""
        return "Context size has been exceeded" in str(self)


class Probability(msgspec.Struct, gc=False):
    """An alternative token."""

    id: int = 0
    token: str = ""
    logprob: float | None = None


class TokenProbability(Probability, gc=False):
    """A generated token with its alternatives."""

    top_logprobs: list[Probability] = []


class Timings(msgspec.Struct, gc=False):
    """What the engine measured, in tokens and milliseconds."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Progress(msgspec.Struct, gc=False):
    """How much of the prompt has been read, in tokens."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class _Error(msgspec.Struct):
    message: str = ""
    type: str = ""
    code: int = 500


class Event(msgspec.Struct, gc=False):
    """One event of `/completion`: progress, text, or the end (`stop`)."""

    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_predicted: int = 0
    completion_probabilities: list[TokenProbability] | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: _Error | None = None


decode_event = msgspec.json.Decoder(Event).decode


def refusal(raw: bytes, status: int) -> EngineRefusal:
    """What an answer with a status other than 200 says."""
    try:
        error = msgspec.json.decode(raw, type=dict[str, _Error])["error"]
    except (msgspec.DecodeError, KeyError):
        error = _Error(raw[:300].decode(errors="replace").strip())
    message = error.message or f"it answered with status {status}, without a reason"
    return EngineRefusal(message, status=status, kind=error.type)
