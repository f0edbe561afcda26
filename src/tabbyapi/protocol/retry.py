"""When to try again, and how long to wait: decided here, slept elsewhere."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..errors import (
    APIError,
    ConnectError,
    RateLimitError,
    RequestError,
    RequestTimeout,
    TabbyError,
)

__all__ = ["Retry", "RetryPolicy"]


class Retry(Protocol):
    """A policy. Any object with this method will do."""

    def delay(self, error: TabbyError, attempt: int) -> float | None:
        """Seconds to wait before the next try, or None to give up.

        Args:
            error: why this try failed. A `RequestError` tells by `sent` and `answered` how far
                it got; an `APIError` has its `status_code`.
            attempt: 1 for the first try.
        """
        ...


class RetryPolicy(msgspec.Struct, frozen=True):
    """Exponential backoff with full jitter.

    Tried again: a connection refused, or lost before any byte of the answer (this server drops
    idle connections after 5 seconds), and the statuses given. Not 500 and 503: on this server
    they mean a lasting fault. A timeout is not tried again. A stream is tried again only before
    its first event.

    Attributes:
        max_retries: tries after the first one; 0 switches retries off.
        base_delay, max_delay: seconds; the n-th wait is random in 0 to base_delay * 2^(n-1),
            capped at max_delay.
        statuses: HTTP statuses to try again after.
        max_retry_after: longest `Retry-After` that is waited for, in seconds; a longer one
            raises the error at once.
    """

    max_retries: int = 2
    base_delay: float = 0.25
    max_delay: float = 8.0
    statuses: frozenset[int] = frozenset({429, 502, 504})
    max_retry_after: float = 60.0

    def delay(self, error: TabbyError, attempt: int) -> float | None:
        if attempt > self.max_retries or not self._passing(error):
            return None
        if isinstance(error, RateLimitError) and error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_retry_after else None
        ceiling = min(self.max_delay, self.base_delay * 2.0 ** (attempt - 1))
        from random import uniform  # slow to import, and mostly not needed

        return uniform(0.0, ceiling)

    def _passing(self, error: TabbyError) -> bool:
        if isinstance(error, APIError):
            return error.status_code in self.statuses
        if isinstance(error, ConnectError):
            return True
        return (
            isinstance(error, RequestError)
            and not isinstance(error, RequestTimeout)
            and not error.answered
        )
