"""The servers behind a gateway: which of them may be asked, and who waits for a free slot.

Theory of operation. A `Server` is in one of three states:

    UP -> LOST        its connection failed; a probe that gets any answer brings it back
    UP -> DOUBTED     it answered an error where another server did not; time brings it back
    LOST, DOUBTED -> UP

`Pool.update` adds and removes servers; a removed one finishes what it is doing. A request holds a
slot of its server from `acquire` to `release`. Whatever may let a waiting request go on (a release,
a server that joins or comes back) wakes all that wait, in order; each looks again.

What `/health` says is not asked: TabbyAPI's reports an error of the past for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from .._protocol.headers import Headers
from .._transport.aio import AsyncSocketTransport
from .._transport.base import AsyncByteStream, Request
from .._transport.connect import Route
from ..errors import TabbyError
from ..server.errors import busy
from ..types.options import Limits, Timeout
from .affinity import ranked

__all__ = ["Discover", "Pool", "Server", "State"]

Discover = Callable[[], Awaitable[Collection[str]]]
"""Returns the URLs of the servers that run now."""

_CHECK = 0.5  # seconds between probes of lost servers
_DISCOVER = 1.0  # seconds between questions for the servers that run
_DOUBT = (5.0, 60.0)  # seconds, doubled from the first to the last
_TIMEOUT = Timeout(connect=3.0, idle=None, total=None)
_LIMITS = Limits(body=1 << 40)


class State(Enum):
    """Whether a server is asked."""

    UP = "up"
    LOST = "lost"
    DOUBTED = "doubted"


@dataclass(eq=False)
class Server:
    """A server behind the gateway.

    Attributes:
        url: its root, which also names it.
        busy: slots in use by this gateway.
        doubts: how often in a row it was doubted.
        until: when a doubt ends, by `time.monotonic()`.
        reason: why it is not up, for people.
    """

    url: str
    state: State = State.UP
    busy: int = 0
    doubts: int = 0
    until: float = 0.0
    reason: str = ""
    transport: AsyncSocketTransport = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.transport = AsyncSocketTransport(Route(self.url, proxy=False))

    async def open(
        self, method: str, target: str, headers: Headers, body: bytes | None
    ) -> AsyncByteStream:
        """Send a request and read the head of the answer.

        Raises:
            RequestError: there was none.
        """
        return await self.transport.open(
            Request(method, self.url + target, headers, body, _TIMEOUT, None, _LIMITS)
        )


class Pool:
    """Chooses servers for requests.

    Args:
        urls: the servers.
        slots: requests that one server is sent at a time.
        max_queue: requests that may wait for a slot; more are refused with 503.
        patience: seconds that a request waits for a server while there is none.
        discover: asked every second for the servers that run; None: `urls` stay.
    """

    def __init__(
        self,
        urls: Iterable[str] = (),
        *,
        slots: int = 4,
        max_queue: int = 64,
        patience: float = 30.0,
        discover: Discover | None = None,
    ) -> None:
        self.servers: dict[str, Server] = {url: Server(url) for url in urls}
        self.waiting: list[asyncio.Future[None]] = []
        self._slots = slots
        self._max_queue = max_queue
        self._patience = patience
        self._discover = discover
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch the servers, in the running event loop."""
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._watch()))
            if self._discover is not None:
                self._tasks.append(asyncio.create_task(self._follow(self._discover)))

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await asyncio.gather(*(server.transport.close() for server in self.servers.values()))

    async def update(self, urls: Iterable[str]) -> None:
        """Set the servers that there are. Those that stay keep their state."""
        before = self.servers
        self.servers = {url: before.get(url) or Server(url) for url in urls}
        self._wake()
        for url in before.keys() - self.servers.keys():
            await before[url].transport.close()

    def lose(self, server: Server, why: object) -> None:
        """Ask a server no more until it answers again: its connection has failed."""
        server.state, server.reason = State.LOST, str(why)
        self._wake()  # those who wait for no other may now be late

    def doubt(self, server: Server, why: object) -> None:
        """Ask a server no more for a while: another one did what it could not."""
        first, last = _DOUBT
        server.until = time.monotonic() + min(first * 2**server.doubts, last)
        server.doubts += 1
        server.state, server.reason = State.DOUBTED, str(why)

    async def acquire(self, key: bytes, passed: Collection[Server] = ()) -> Server | None:
        """Take a slot of the best server for a key, or of the next that has one free.

        Args:
            key: see `affinity.session_key`; b"" takes the server with the most free slots.
            passed: servers that are not to be asked again.

        Returns:
            The server; None where all that there are have been passed.

        Raises:
            HTTPError: 503 with Retry-After: the queue is full, or there is no server.
        """
        deadline = time.monotonic() + self._patience
        while True:
            up = [s for s in self.servers.values() if s.state is State.UP]
            open_to_it = [s for s in up if s not in passed]
            for server in self._ordered(key, open_to_it):
                if server.busy < self._slots:
                    server.busy += 1
                    return server
            if not open_to_it and passed:
                return None
            if not up and time.monotonic() >= deadline:
                raise busy("no server can be reached")
            if len(self.waiting) >= self._max_queue:
                raise busy(f"{len(self.waiting)} requests are waiting already")
            await self._changed(None if up else deadline - time.monotonic())

    def release(self, server: Server) -> None:
        """Give a slot back."""
        server.busy -= 1
        self._wake()

    def _ordered(self, key: bytes, servers: list[Server]) -> list[Server]:
        if not key:
            return sorted(servers, key=lambda server: server.busy)
        return [self.servers[url] for url in ranked(key, [server.url for server in servers])]

    async def _changed(self, timeout: float | None) -> None:
        woken = asyncio.get_running_loop().create_future()
        self.waiting.append(woken)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(woken, timeout)
        finally:
            if woken in self.waiting:
                self.waiting.remove(woken)

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for woken in waiting:
            if not woken.done():
                woken.set_result(None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_CHECK)
            servers = list(self.servers.values())
            await asyncio.gather(*(self._probe(s) for s in servers if s.state is State.LOST))
            for server in servers:
                if server.state is State.DOUBTED and time.monotonic() >= server.until:
                    self._back(server)

    async def _probe(self, server: Server) -> None:
        """Bring a lost server back if it answers, whatever it says."""
        with suppress(TabbyError, TimeoutError):
            async with asyncio.timeout(5):
                (await server.open("GET", "/health", Headers(), None)).close()
                self._back(server)

    def _back(self, server: Server) -> None:
        server.state, server.reason = State.UP, ""
        self._wake()

    async def _follow(self, discover: Discover) -> None:
        while True:
            with suppress(Exception):  # a cluster that is busy electing: keep what was known
                await self.update(await discover())
            await asyncio.sleep(_DISCOVER)
