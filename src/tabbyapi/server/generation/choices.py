"""From an answer's text to what the protocol calls a choice: deltas, or a whole message."""

from __future__ import annotations

from typing import Any

from ..engine import TokenProbability
from .job import Finish, TextDelta
from .reasoning import ReasoningSplitter
from .toolcalls import CallSplitter, HarmonySplitter

__all__ = ["Choice", "usage"]

_IMPOSSIBLE = -1000.0  # how the protocol writes the logarithm of zero


def _logprob(token: TokenProbability, count: int) -> dict[str, Any]:
    def entry(one: Any) -> dict[str, Any]:
        logprob = _IMPOSSIBLE if one.logprob is None else max(_IMPOSSIBLE, one.logprob)
        return {"token": one.token, "token_id": one.id, "logprob": logprob}

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
        splitter: ReasoningSplitter | HarmonySplitter | None,
        tools: CallSplitter | None,
        logprobs: int | None,
    ) -> None:
        self.index = index
        self.end: Finish | None = None
        self._splitter = splitter
        self._tools = tools
        self._logprobs = logprobs
        self._tokens: list[dict[str, Any]] = []
        self._reasoning: list[str] = []
        self._content: list[str] = []

    @property
    def plain(self) -> bool:
        """True if text is passed on unchanged."""
        return self._splitter is None and self._tools is None and self._logprobs is None

    @property
    def wants_logprobs(self) -> bool:
        """True if log probabilities are reported."""
        return self._logprobs is not None

    def feed(self, delta: TextDelta) -> dict[str, str]:
        """Take text; returns the part of it that is certain, as a delta that may be empty."""
        reasoning, content = "", delta.text
        if self._splitter is not None:
            reasoning, content = self._splitter.feed(content)
        if self._tools is not None:
            content = self._tools.feed(content)
        inside = self._splitter is not None and self._splitter.reasoning
        if self._logprobs is not None and delta.probabilities and not inside:
            self._tokens += [_logprob(token, self._logprobs) for token in delta.probabilities]
        return self._grow(reasoning, content)

    def finish(self, end: Finish) -> dict[str, Any]:
        """The end: returns the last delta, with what was held back and all tool calls."""
        self.end = end
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
        assert self.end is not None
        if self._tools is not None and self._tools.seen:
            return "tool_calls"
        return "length" if self.end.eos_reason == "max_new_tokens" else "stop"

    def message(self) -> dict[str, Any]:
        """The choice of an answer that is not streamed."""
        assert self.end is not None
        content, reasoning = "".join(self._content), "".join(self._reasoning)
        return {
            "index": self.index,
            "finish_reason": self.finish_reason,
            "eos_reason": self.end.eos_reason,
            "stop_str": self.end.stop_str,
            "message": {
                "role": "assistant",
                "content": content if content.strip() else None,
                "reasoning_content": reasoning or None,
                "tool_calls": (self._tools.calls if self._tools else None) or None,
                "tool_call_id": None,
            },
            "logprobs": None if self._logprobs is None else {"content": self._tokens},
        }


def usage(prompt_tokens: int, ends: list[Finish], *, parity: bool) -> dict[str, Any]:
    """Token counts and times: the prompt of the first choice, the completions of all.

    Without `parity`, also how many of the prompt's tokens the engine still knew.
    """
    first = ends[0].timings
    completion = sum(end.tokens for end in ends)
    prompt_time = round(first.prompt_ms / 1000, 2)
    completion_time = round(max(end.timings.predicted_ms for end in ends) / 1000, 2)

    def rate(tokens: int, seconds: float) -> float | str:
        return round(tokens / seconds, 2) if seconds else "Indeterminate"

    cached = {} if parity else {"prompt_tokens_details": {"cached_tokens": first.cache_n}}
    return {
        "prompt_tokens": prompt_tokens,
        "prompt_time": prompt_time,
        "prompt_tokens_per_sec": rate(first.prompt_n, prompt_time),
        "completion_tokens": completion,
        "completion_time": completion_time,
        "completion_tokens_per_sec": rate(completion, completion_time),
        "total_tokens": prompt_tokens + completion,
        "total_time": round(prompt_time + completion_time, 2),
        **cached,
    }
