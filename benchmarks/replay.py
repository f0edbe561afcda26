"""The replay server: `python -m benchmarks.replay` prints its ports as JSON and serves until its
standard input closes.

Each port is a way of sending the same stream: `coalesced` writes all of it at once, `bundled` too,
with many events in each HTTP chunk, `single` one event a millisecond, so that each is read on its
own, and `paced` 50 events a second, each stamped with the time of its writing. A request's
`max_tokens` (`num_predict`) says how many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from .wire import STREAM_HEADS, answer, bundled, stamped, stream_parts

__all__ = ["MODES", "main"]

MODES = {"coalesced": 0.0, "bundled": 0.0, "single": 0.001, "paced": 0.020}
"""Seconds between the events of one stream."""

_TICK = 0.001
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_COUNT = re.compile(rb'"(?:max_tokens|num_predict)":\s*(\d+)')
_STREAM = re.compile(rb'"stream":\s*true')


class Pacer:
    """Sends one event to every stream each `gap` seconds, the streams spread over the gap."""

    def __init__(self, gap: float) -> None:
        self._slots: list[list[PacedStream]] = [[] for _ in range(max(1, round(gap / _TICK)))]
        self._started = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def start(self, stream: PacedStream) -> None:
        self._slots[self._started % len(self._slots)].append(stream)
        self._started += 1

    async def _run(self) -> None:
        tick, due = 0, time.monotonic()
        while True:
            slot = tick % len(self._slots)
            if self._slots[slot]:
                self._slots[slot] = [stream for stream in self._slots[slot] if stream.send()]
            tick += 1
            # A tick that comes late is not made up for: gaps stay gaps.
            due = max(due + _TICK, time.monotonic())
            await asyncio.sleep(due - time.monotonic())


class PacedStream:
    """One stream of stamped events."""

    def __init__(self, transport: asyncio.Transport, count: int, dialect: str) -> None:
        self._transport = transport
        self._left = count - 1
        self._before, self._after = stamped(dialect)
        self._tail = stream_parts(1, dialect)[1]

    def send(self) -> bool:
        """Writes the next event; False after the last one, or when the client has left."""
        if self._transport.is_closing():
            return False
        if self._left <= 0:
            self._transport.write(self._tail)
            return False
        self._left -= 1
        stamp = b"%014.6f" % (time.monotonic() % 1e7)
        self._transport.write(self._before + stamp + self._after)
        return True


class Connection(asyncio.Protocol):
    """Answers each request on a kept-alive connection."""

    def __init__(self, mode: str, pacer: Pacer | None) -> None:
        self._bundled = mode == "bundled"
        self._pacer = pacer
        self._held = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while True:
            head, found, body = self._held.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if not found or len(body) < size:
                return
            self._held = body[size:]
            self._answer(head, body[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        dialect = "ndjson" if head.startswith(b"POST /api/") else "sse"
        found = _COUNT.search(body)
        count = int(found[1]) if found else 100
        if not _STREAM.search(body):
            self._transport.write(answer(dialect))
        elif self._bundled:
            self._transport.write(STREAM_HEADS[dialect] + bundled(count, dialect))
        elif self._pacer is None:
            parts, tail = stream_parts(count, dialect)
            self._transport.write(b"".join([STREAM_HEADS[dialect], *parts, tail]))
        else:
            stream = PacedStream(self._transport, count, dialect)
            self._transport.write(STREAM_HEADS[dialect])
            self._pacer.start(stream)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    ports = {}
    for mode, gap in MODES.items():
        pacer = Pacer(gap) if gap else None
        make: Callable[[], Connection] = partial(Connection, mode, pacer)
        server = await loop.create_server(make, "127.0.0.1", 0, backlog=1024)
        ports[mode] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
