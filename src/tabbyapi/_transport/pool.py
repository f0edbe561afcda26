"""Connections that wait to be used again. Safe from several threads."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Generic, Protocol, TypeVar

from .base import IDLE_EXPIRY

__all__ = ["Idle"]

_KEPT = 128


class _Connection(Protocol):
    idle_since: float

    def quiet(self) -> bool: ...

    def discard(self) -> None: ...


W = TypeVar("W", bound=_Connection)


class Idle(Generic[W]):
    """The connections, the one used last in front: the others may grow old."""

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
        """Keeps a connection, unless there are enough of them."""
        connection.idle_since = time.monotonic()
        self._waiting.append(connection)
        if self._closed:
            self.close()
        elif len(self._waiting) > _KEPT:
            with contextlib.suppress(IndexError):
                self._waiting.popleft().discard()

    def close(self) -> None:
        """Closes them all, and whatever is put here later."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.pop().discard()
