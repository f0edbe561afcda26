"""How calls are made: time limits, size limits and retries. Each checks itself when it is made."""

import math
from typing import Any, Protocol

import msgspec

from ..errors import (
    APIError,
    ConnectError,
    RequestError,
    RequestTimeout,
    TabbyError,
    ValidationError,
)

__all__ = ["Limits", "Retry", "RetryPolicy", "Timeout"]

_LONGEST = 1e9  # seconds; sockets and event loops overflow somewhere above
_LONGEST_LINE = 65_536


def _bad(where: str, value: Any, allowed: str) -> ValidationError:
    return ValidationError(
        f"{where} is {value!r}, but must be {allowed}", field=where.partition(".")[0]
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Timeout(msgspec.Struct, frozen=True):
    """Limits of a call, in seconds; None means no limit.

    Attributes:
        connect: making a connection.
        idle: waiting for the next *data* of a stream, the first one included. A server's pings
            do not count: after an unload it pings for ever. Long prompts and tool calls send
            nothing for minutes, hence the generous default. For plain calls it bounds the wait for
            the answer; loading and downloading, which may take hours, are not limited.
        total: the whole call: connecting, all tries and the waits between them, and the reading
            of a stream. None by default: a long generation is not a fault.

    Raises:
        ValidationError: not a positive number of seconds.
    """

    connect: float | None = 5.0
    idle: float | None = 600.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in ("connect", "idle", "total"):
            seconds = getattr(self, name)
            if seconds is None or (_is_number(seconds) and 0 < seconds < _LONGEST):
                continue
            raise _bad(
                f"timeout.{name}", seconds, "a positive number of seconds, or None for no limit"
            )


class Limits(msgspec.Struct, frozen=True):
    """Sizes, in bytes, beyond which an answer is given up: a broken server ends in an error.

    Attributes:
        event: one event of a stream, and so one line of it. TabbyAPI sends a tool call as one
            event, however long, hence the generous default. More raises
            `StreamInterruptedError`, with what had come before in `partial`.
        body: a plain answer. More raises `RequestError`.
        header: one line of the answer's head, 65,536 at most; a head has at most 100 lines.
            More raises `RequestError`.

    Raises:
        ValidationError: not a whole number of bytes above 0.
    """

    event: int = 64 * 1024 * 1024
    body: int = 256 * 1024 * 1024
    header: int = _LONGEST_LINE

    def __post_init__(self) -> None:
        for name in ("event", "body", "header"):
            size = getattr(self, name)
            most = _LONGEST_LINE if name == "header" else None
            if type(size) is int and size >= 1 and (most is None or size <= most):
                continue
            at_most = f" and at most {most:,}" if most else ""
            raise _bad(f"limits.{name}", size, f"a number of bytes, at least 1{at_most}")


class Retry(Protocol):
    """A retry policy. Any object with this method will do."""

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

    Tried again: a connection refused, or lost before any byte of the answer, the statuses given,
    and 503 with a `Retry-After`. Not 500 and a bare 503: on this server they mean a lasting fault.
    A timeout is not tried again. A stream is tried again only before its first event. A wait that
    would end after the call's `timeout.total` raises the error at once.

    Attributes:
        max_retries: tries after the first one; 0 switches retries off.
        base_delay: seconds; the n-th wait is random in 0 to base_delay * 2^(n-1).
        max_delay: longest wait, in seconds. A longer `Retry-After` raises the error at once, with
            the time in its `retry_after`.
        statuses: HTTP statuses to try again after; their `Retry-After` decides the wait.

    Raises:
        ValidationError: a number that is negative or no number, or something else for statuses.
    """

    max_retries: int = 2
    base_delay: float = 0.25
    max_delay: float = 60.0
    statuses: frozenset[int] = frozenset({429, 502, 504})

    def __post_init__(self) -> None:
        if type(self.max_retries) is not int or self.max_retries < 0:
            raise _bad("retry.max_retries", self.max_retries, "a whole number, 0 or more")
        for name in ("base_delay", "max_delay"):
            seconds = getattr(self, name)
            if not _is_number(seconds) or not 0 <= seconds < math.inf:
                raise _bad(f"retry.{name}", seconds, "a number of seconds, 0 or more")
        statuses = self.statuses
        if not isinstance(statuses, frozenset | set | tuple | list) or not all(
            type(status) is int for status in statuses
        ):
            raise _bad("retry.statuses", statuses, "a set of HTTP statuses, such as {429, 502}")

    def delay(self, error: TabbyError, attempt: int) -> float | None:
        if attempt > self.max_retries or not self._passing(error):
            return None
        if isinstance(error, APIError) and error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_delay else None
        ceiling = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 60))
        from random import uniform  # slow to import, and mostly not needed

        return uniform(0.0, ceiling)

    def _passing(self, error: TabbyError) -> bool:
        if isinstance(error, APIError):
            status = error.status_code
            return status in self.statuses or (status == 503 and error.retry_after is not None)
        if isinstance(error, ConnectError):
            return True
        return (
            isinstance(error, RequestError)
            and not isinstance(error, RequestTimeout)
            and not error.answered
        )
