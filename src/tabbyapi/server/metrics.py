"""What a server measures for Prometheus, where `--metrics` asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .engine import Timings

__all__ = ["AnswerMeter", "Metrics"]

_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters and gauges of one server, in a separate registry.

    Args:
        context: gives the tokens of the context in use, and its size; zeros without a model.
    """

    def __init__(self, context: Callable[[], tuple[int, int]]) -> None:
        self.registry = registry = CollectorRegistry()
        self.running = Gauge(
            "tabbyapi_answers_running", "Answers being generated", registry=registry
        )
        self.waiting = Gauge(
            "tabbyapi_answers_waiting", "Answers waiting for a slot or for context",
            registry=registry,
        )  # fmt: skip
        self.prompt_tokens = Counter(
            "tabbyapi_prompt_tokens", "Tokens of prompts, without those still in the cache",
            registry=registry,
        )  # fmt: skip
        self.cached_tokens = Counter(
            "tabbyapi_cached_prompt_tokens", "Tokens of prompts that were still in the cache",
            registry=registry,
        )  # fmt: skip
        self.generated_tokens = Counter(
            "tabbyapi_generated_tokens", "Tokens generated", registry=registry
        )
        self.first_token = Histogram(
            "tabbyapi_time_to_first_token_seconds", "From the request to its first token",
            buckets=_FIRST_TOKEN_SECONDS, registry=registry,
        )  # fmt: skip
        used = Gauge("tabbyapi_context_used_tokens", "Context in use", registry=registry)
        used.set_function(lambda: context()[0])
        size = Gauge("tabbyapi_context_size_tokens", "Context of all answers", registry=registry)
        size.set_function(lambda: context()[1])


class AnswerMeter:
    """Measures one answer: it waits from the beginning, and may run and wait again.

    Without metrics it does nothing.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics
        self._begin = time.monotonic()
        self._in: Gauge | None = None
        self._has_token = False
        self.waits()

    def waits(self) -> None:
        """The answer waits for a slot or for context."""
        self._move(self._metrics.waiting if self._metrics else None)

    def runs(self) -> None:
        """The answer is being generated."""
        self._move(self._metrics.running if self._metrics else None)

    def got_token(self) -> None:
        """A token has come; the first one is timed."""
        if self._metrics is not None and not self._has_token:
            self._has_token = True
            self._metrics.first_token.observe(time.monotonic() - self._begin)

    def ends(self, tokens: int = 0, timings: Timings | None = None) -> None:
        """The answer is over; without arguments if it failed or its client left."""
        self._move(None)
        if self._metrics is not None and timings is not None:
            self._metrics.generated_tokens.inc(tokens)
            self._metrics.prompt_tokens.inc(timings.prompt_n)
            self._metrics.cached_tokens.inc(timings.cache_n)

    def _move(self, gauge: Gauge | None) -> None:
        if self._in is not None:
            self._in.dec()
        if gauge is not None:
            gauge.inc()
        self._in = gauge
