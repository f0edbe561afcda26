"""Accepts connections, as many as the process may have open, and ends them when it is stopped.

Uvicorn's server, but for accepting: a connection for which the system has no descriptor left would
be reset. So each open connection has one set aside. Up to `most` are served, as many again are
refused with 503, and further ones wait in the system's queue until one of these is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

__all__ = ["Server", "connections_possible"]

_KEPT = 16  # descriptors for files, and for the pipes of processes that are started
_LEAST = 2  # connections, however few descriptors there are
_UNKNOWN = 64  # open files, where the system does not list them
_GRACE_SECONDS = 2  # for requests in flight when the server is stopped
_LAST_SECONDS = 1  # for telling clients that their requests are ended


class Server(uvicorn.Server):
    """Serves until it is stopped.

    Args:
        config: uvicorn's.
        listener: the socket to accept connections of.
        most: connections to serve at the same time.
        on_started: called once connections are accepted.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        *,
        most: int,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._most = most
        self._on_started = on_started
        self._accepting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())
        self._on_started()

    async def _accept(self) -> None:
        loop, connections = asyncio.get_running_loop(), self.server_state.connections
        while True:
            while len(connections) >= 2 * self._most:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError:  # the client has left already, or something else used up descriptors
                await asyncio.sleep(0.01)
                continue
            try:
                await loop.connect_accepted_socket(self._protocol, sock)
            except OSError:
                sock.close()

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def stop(self) -> None:
        """Stop soon. May be called from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not noted down as uvicorn does: it would raise the signal again in the end, and
        # interrupt the unloading of the model.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert self._accepting is not None
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()  # closes those without a request
        deadline = time.monotonic() + _GRACE_SECONDS
        while tasks and not self.force_exit and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for task in list(tasks):
            task.cancel()  # the application tells its client
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_SECONDS)
        if tasks:  # of clients that do not read
            for connection in list(connections):
                connection.transport.abort()
        await super().shutdown()


def connections_possible(wanted: int, slots: int) -> int:
    """How many of the wanted connections can be served, after raising the limit of open files.

    Args:
        wanted: connections to serve at most.
        slots: answers at the same time, each with a connection to the engine.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = _UNKNOWN
    used += _KEPT + 2 * slots
    needed = used + 2 * wanted
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    if limit < needed:
        raised = needed if highest == resource.RLIM_INFINITY else min(needed, highest)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, highest))
            limit = raised
    return max(_LEAST, min(wanted, (limit - used) // 2))
