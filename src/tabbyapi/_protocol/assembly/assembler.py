"""Assembly of streams: chunks add up to the response of the call that does not stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Assembler", "Choice", "Ending"]

R = TypeVar("R")


class Choice(Protocol):
    """State of one choice: the parts received so far."""

    def add(self, choice: Any, /) -> None:
        """Take in the choice's part of a chunk."""

    def response(self, index: int, /) -> Any:
        """The choice of the response."""


class Ending:
    """Why a choice ended, as far as the server has said."""

    __slots__ = ("eos_reason", "finish_reason")

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.eos_reason: str | None = None

    def ended(self, choice: Any) -> None:
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if choice.eos_reason is not None:
            self.eos_reason = choice.eos_reason


class Assembler(Generic[R]):
    """Adds chunks up. `response` may be asked for at any time; it costs the answer's length.

    Args:
        make_choice: makes the empty state of a choice.
        response_type: type of the response, e.g. `ChatCompletionResponse`.
    """

    __slots__ = ("_choices", "_first", "_make_choice", "_model", "_response_type", "_tail")

    def __init__(self, make_choice: Callable[[], Choice], response_type: Callable[..., R]) -> None:
        self._make_choice = make_choice
        self._response_type = response_type
        self._first: Any = None
        self._choices: dict[int, Choice] = {}
        self._model = ""
        self._tail: dict[str, Any] = {}  # what comes at the end of a stream

    def add(self, chunks: list[Any]) -> None:
        if not chunks:
            return
        if self._first is None:
            self._first = chunks[0]
        choices = self._choices
        for chunk in chunks:
            for choice in chunk.choices:
                state = choices.get(choice.index)
                if state is None:
                    state = choices[choice.index] = self._make_choice()
                state.add(choice)
            if chunk.usage is not None:
                self._tail["usage"] = chunk.usage
            if chunk.timings is not None:
                self._tail["timings"] = chunk.timings
        self._model = chunks[-1].model or self._model

    def response(self) -> R | None:
        first = self._first
        if first is None:
            return None
        return self._response_type(
            id=first.id,
            created=first.created,
            model=self._model,
            choices=[self._choices[i].response(i) for i in sorted(self._choices)],
            **self._tail,
        )
