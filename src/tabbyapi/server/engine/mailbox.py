"""Many tasks put, one task takes everything there is: where choices, pings and endings meet."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")

__all__ = ["Mailbox"]

_ENOUGH = 1024  # items


class Mailbox(Generic[T]):
    """A queue whose reader gets all waiting items at once: one wake-up per batch.

    `put` never blocks. A task that puts many items awaits `room` between them, and so waits for a
    slow reader.
    """

    def __init__(self) -> None:
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: T) -> bool:
        """Add an item; never blocks. Returns whether there is room for more."""
        self._items.append(item)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if len(self._items) < _ENOUGH:
            return True
        self._room.clear()
        return False

    async def room(self) -> None:
        """Wait while many items wait to be taken."""
        if not self._room.is_set():
            await self._room.wait()

    async def take(self) -> list[T]:
        """All items there are, waiting for the first."""
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        self._room.set()
        return items
