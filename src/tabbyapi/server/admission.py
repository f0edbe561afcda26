"""The bounded queue in front of the engine's slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .errors import busy

__all__ = ["Admission"]


class Admission:
    """Lets `slots` generations run; `queue` requests may wait beside those that run."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slot = asyncio.Semaphore(slots)
        self._most = slots + queue
        self._inside = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """Admit a request, or raise `HTTPError` (503 with Retry-After). `leave` ends it."""
        if self._closed:
            raise busy("a model is being loaded")
        if self._inside >= self._most:
            raise busy(f"{self._inside} requests are running or waiting")
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        """A request is done."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    @asynccontextmanager
    async def closed(self, *, wait: bool = True) -> AsyncIterator[None]:
        """Admit nobody meanwhile; by default begin when those inside have left."""
        self._closed = True
        try:
            if wait:
                await self._empty.wait()
            yield
        finally:
            self._closed = False
