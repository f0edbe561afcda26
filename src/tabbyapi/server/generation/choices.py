"""From an answer's text to what the protocol calls a choice: deltas, or a whole message."""

from __future__ import annotations

from typing import Any

from ..engine import TokenProbability
from .job import Finish, TextDelta
from .reasoning import ReasoningSplitter
from .toolcalls import ToolCallSplitter

__all__ = ["Choice", "usage"]

_IMPOSSIBLE = -1000.0  # how the protocol writes the logarithm of zero


def _logprob(token: TokenProbability, count: int) -> dict[str, Any]:
    def entry(piece: Any) -> dict[str, Any]:
        logprob = _IMPOSSIBLE if piece.logprob is None else max(_IMPOSSIBLE, piece.logprob)
        return {"token": piece.token, "token_id": piece.id, "logprob": logprob}

    return entry(token) | {"top_logprobs": [entry(top) for top in token.top_logprobs[:count]]}


class Choice:
    """One of the `n` answers, growing.

    `feed` and `finish` return deltas; `message` is the whole. `logprobs` is the number of
    alternatives to report, None for no log probabilities.
    """

    def __init__(
        self,
        index: int,
        *,
        splitter: ReasoningSplitter | None,
        tools: ToolCallSplitter | None,
        logprobs: int | None,
    ) -> None:
        self.index = index
        self.ending: Finish | None = None
        self._splitter = splitter
        self._tools = tools
        self._logprobs = logprobs
        self._tokens: list[dict[str, Any]] = []
        self._reasoning: list[str] = []
        self._content: list[str] = []

    @property
    def plain(self) -> bool:
        """Whether text goes through as it is."""
        return self._splitter is None and self._tools is None and self._logprobs is None

    @property
    def wants_logprobs(self) -> bool:
        """Whether log probabilities are reported."""
        return self._logprobs is not None

    def feed(self, piece: TextDelta) -> dict[str, str]:
        """Take a piece; returns the delta it makes certain, maybe an empty one."""
        reasoning, content = "", piece.text
        if self._splitter is not None:
            reasoning, content = self._splitter.feed(content)
        if self._tools is not None:
            content = self._tools.feed(content)
        inside = self._splitter is not None and self._splitter.reasoning
        if self._logprobs is not None and piece.probabilities and not inside:
            self._tokens += [_logprob(token, self._logprobs) for token in piece.probabilities]
        return self._grow(reasoning, content)

    def finish(self, ending: Finish) -> dict[str, Any]:
        """The end: returns the last delta, with what was held back and all tool calls."""
        self.ending = ending
        reasoning, content = "", ""
        if self._splitter is not None:
            reasoning, content = self._splitter.finish()
        calls: list[dict[str, Any]] = []
        if self._tools is not None:
            content = self._tools.feed(content) + self._tools.finish()
            calls = self._tools.calls
        delta: dict[str, Any] = {**self._grow(reasoning, content)}
        if calls:
            delta["tool_calls"] = calls
        return delta

    def _grow(self, reasoning: str, content: str) -> dict[str, str]:
        delta = {}
        if reasoning:
            delta["reasoning_content"] = reasoning
            self._reasoning.append(reasoning)
        if content:
            delta["content"] = content
            self._content.append(content)
        return delta

    def take_logprobs(self) -> dict[str, Any] | None:
        """Log probabilities of the tokens since the last call."""
        tokens, self._tokens = self._tokens, []
        return {"content": tokens} if tokens else None

    @property
    def finish_reason(self) -> str:
        """How the protocol names the end."""
        assert self.ending is not None
        if self._tools is not None and self._tools.seen:
            return "tool_calls"
        return "length" if self.ending.eos_reason == "max_new_tokens" else "stop"

    def message(self) -> dict[str, Any]:
        """The choice of an answer that is not streamed."""
        assert self.ending is not None
        content, reasoning = "".join(self._content), "".join(self._reasoning)
        return {
            "index": self.index,
            "finish_reason": self.finish_reason,
            "eos_reason": self.ending.eos_reason,
            "stop_str": self.ending.stop_str,
            "message": {
                "role": "assistant",
                "content": content if content.strip() else None,
                "reasoning_content": reasoning or None,
                "tool_calls": (self._tools.calls if self._tools else None) or None,
                "tool_call_id": None,
            },
            "logprobs": None if self._logprobs is None else {"content": self._tokens},
        }


def usage(prompt_tokens: int, endings: list[Finish]) -> dict[str, Any]:
    """Token counts and times: the prompt of the first choice, the completions of all."""
    first = endings[0].timings
    completion = sum(ending.tokens for ending in endings)
    prompt_time = round(first.prompt_ms / 1000, 2)
    completion_time = round(max(ending.timings.predicted_ms for ending in endings) / 1000, 2)

    def rate(tokens: int, seconds: float) -> float | str:
        return round(tokens / seconds, 2) if seconds else "Indeterminate"

    return {
        "prompt_tokens": prompt_tokens,
        "prompt_time": prompt_time,
        "prompt_tokens_per_sec": rate(first.prompt_n, prompt_time),
        "completion_tokens": completion,
        "completion_time": completion_time,
        "completion_tokens_per_sec": rate(completion, completion_time),
        "total_tokens": prompt_tokens + completion,
        "total_time": round(prompt_time + completion_time, 2),
    }
