"""Idle connections, kept for reuse, and the lease of one in use. Safe from several threads."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Generic, Protocol, TypeVar

from .base import IDLE_EXPIRY

__all__ = ["Lease", "Pool"]

_KEPT = 128


class _Connection(Protocol):
    idle_since: float

    def quiet(self) -> bool: ...

    def discard(self) -> None: ...


W = TypeVar("W", bound=_Connection)


class Pool(Generic[W]):
    """Idle connections. The one used last is taken first, so that the others may grow old."""

    def __init__(self) -> None:
        self._waiting: deque[W] = deque()  # whose methods are atomic
        self._closed = False

    def take(self) -> W | None:
        """A connection that the server has not closed, nor is about to; None if there is none."""
        if not self._waiting:
            return None
        oldest = time.monotonic() - IDLE_EXPIRY
        with contextlib.suppress(IndexError):
            while True:
                connection = self._waiting.pop()
                if connection.idle_since > oldest and connection.quiet():
                    return connection
                connection.discard()
        return None

    def put(self, connection: W) -> None:
        """Keep a connection, unless there are enough of them."""
        connection.idle_since = time.monotonic()
        self._waiting.append(connection)
        if self._closed:
            self.close()
        elif len(self._waiting) > _KEPT:
            with contextlib.suppress(IndexError):
                self._waiting.popleft().discard()

    def close(self) -> None:
        """Close them all, and those that are put here later."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.pop().discard()


class Lease(Generic[W]):
    """A connection in use. `take` hands it over once: to put it back, or to close it."""

    __slots__ = ("_held",)

    def __init__(self, connection: W) -> None:
        self._held = [connection]  # a list, because its methods are atomic

    def look(self) -> W | None:
        """The connection, None once it was taken."""
        try:
            return self._held[0]
        except IndexError:
            return None

    def take(self) -> W | None:
        """The connection, for the first caller only."""
        try:
            return self._held.pop()
        except IndexError:
            return None
