"""Whose turn it is at a resource that one job uses at a time, fairly among callers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["CALLER", "Caller", "Turns"]


@dataclass(frozen=True)
class Caller:
    """Where a request comes from: its key (hashed, "" without one) and its connection."""

    key: str = ""
    connection: str = ""


_UNKNOWN = Caller()
CALLER: ContextVar[Caller] = ContextVar("CALLER", default=_UNKNOWN)
"""The caller of the request that the current task works for."""


@dataclass(eq=False)
class _Waiter:
    caller: Caller
    size: int
    turn: asyncio.Future[None]


class Turns:
    """A lock that goes to the caller who has used it least; between equals, to the smallest job.

    The time that a caller's jobs took is kept as long as anyone waits, by key and by connection.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[_Waiter] = []
        self._spent: defaultdict[tuple[str, str], float] = defaultdict(float)

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Hold the lock for a job of this size (bytes)."""
        caller = CALLER.get()
        clock = asyncio.get_running_loop().time
        if self._taken:
            await self._wait(caller, size)
        self._taken = True
        begin = clock()
        try:
            yield
        finally:
            seconds = clock() - begin
            self._spent["key", caller.key] += seconds
            self._spent["connection", caller.connection] += seconds
            self._pass_on()

    async def _wait(self, caller: Caller, size: int) -> None:
        waiter = _Waiter(caller, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:  # its turn had come in the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        if not self._waiting:
            self._taken = False
            self._spent.clear()
            return
        spent = self._spent
        first = min(
            self._waiting,  # in the order of their coming, which decides between equals
            key=lambda w: (
                spent["key", w.caller.key],
                spent["connection", w.caller.connection],
                w.size,
            ),
        )
        self._waiting.remove(first)
        first.turn.set_result(None)
