"""Admission of work: the queue in front of the engine's slots, and the context they share.

`Admission` counts requests: `slots` answers run, `queue` more requests wait, others are refused.

`ContextPool` counts tokens. The answers that run share one context, so each holds a `Share` of it:
its prompt and `max_tokens`, or its prompt and some room that grows with the answer where
`max_tokens` is not given, or large. States of a share: waiting, running, and leaving (asked to put
itself back).
Invariants: a share starts running only if all running ones fit into the context with it; shares
start in order of age, so none is overtaken for ever; when growth exceeds the context, the youngest
that can be put back are asked to leave, and wait again. An answer that cannot be put back and has
no known end (`fixed` and growing) runs beside no other fixed one. So whatever fits alone is
answered in company too.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from .errors import busy

__all__ = ["Admission", "ContextPool", "Share"]


class Admission:
    """Lets `slots` answers run; `queue` requests may wait beside those that run."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slot = asyncio.Semaphore(slots)
        self._most = slots + queue
        self._inside = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """Admit a request; `leave` ends it.

        Raises:
            HTTPError: 503 with Retry-After, if the queue is full or closed.
        """
        if self._closed:
            raise busy("a model is being loaded")
        if self._inside >= self._most:
            raise busy(f"{self._inside} requests are running or waiting")
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        """End a request that was admitted."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    @asynccontextmanager
    async def closed(self, *, wait: bool = True) -> AsyncIterator[None]:
        """Admit no request meanwhile; by default begin when the admitted ones have ended."""
        self._closed = True
        try:
            if wait:
                await self._empty.wait()
            yield
        finally:
            self._closed = False


class Share:
    """The part of the context that one answer holds, in tokens.

    Args:
        put_back: asks the answer to end its request to the engine soon and to wait again; None
            for one that could not go on afterwards.
        grows: nothing bounds the answer but the context.
    """

    def __init__(self, pool: ContextPool, put_back: Callable[[], None] | None, grows: bool) -> None:
        self.tokens = 0
        self.put_back = put_back
        self.grows = grows
        self.leaving = False
        self._pool = pool
        self.age = next(pool.ages)

    @property
    def fixed(self) -> bool:
        """True if it cannot be put back."""
        return self.put_back is None

    async def hold(self, tokens: int) -> None:
        """Wait until this many tokens fit in, at most the whole context, and hold them."""
        await self._pool.acquire(self, min(tokens, self._pool.size))

    def grow(self, tokens: int) -> None:
        """Hold this many tokens in total from now on; younger shares may be put back for it."""
        self._pool.grow(self, min(tokens, self._pool.size))

    def free(self) -> None:
        """Give everything back. Does nothing if nothing is held."""
        self._pool.release(self)


class ContextPool:
    """Divides a context of `size` tokens among the answers that run."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ages = count()
        self._running: set[Share] = set()
        self._waiting: list[tuple[int, int, Share, asyncio.Future[None]]] = []

    @property
    def used(self) -> int:
        """Tokens that the answers hold which run."""
        return sum(share.tokens for share in self._running)

    def share(self, put_back: Callable[[], None] | None, *, grows: bool) -> Share:
        """A share that holds nothing yet. Shares made earlier go first."""
        return Share(self, put_back, grows)

    async def acquire(self, share: Share, tokens: int) -> None:
        """See `Share.hold`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (share.age, tokens, share, granted))
        self._start_waiting()
        try:
            await granted
        except asyncio.CancelledError:
            self.release(share)
            raise

    def grow(self, share: Share, tokens: int) -> None:
        """See `Share.grow`."""
        share.tokens = max(share.tokens, tokens)
        excess = sum(s.tokens for s in self._running if not s.leaving) - self.size
        for other in sorted(self._running, key=lambda s: s.age, reverse=True):
            if excess <= 0:
                break
            if other.put_back is not None and not other.leaving:
                other.leaving = True
                other.put_back()
                excess -= other.tokens

    def release(self, share: Share) -> None:
        """See `Share.free`."""
        self._running.discard(share)
        share.tokens, share.leaving = 0, False
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start the oldest waiting shares, as long as each fits in."""
        while self._waiting:
            _, tokens, share, granted = self._waiting[0]
            if granted.done():  # cancelled
                heapq.heappop(self._waiting)
                continue
            if not self._fits(share, tokens):
                return
            heapq.heappop(self._waiting)
            share.tokens = tokens
            self._running.add(share)
            granted.set_result(None)

    def _fits(self, share: Share, tokens: int) -> bool:
        if share.fixed and any(s.fixed and (s.grows or share.grows) for s in self._running):
            return False
        return tokens + self.used <= self.size
