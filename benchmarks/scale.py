"""What the gateway costs: `python -m benchmarks.scale`.

Scripted servers send 50 events a second for each stream. Prints, for streams straight from the
servers and through the gateway: the time to the first event, the delay of an event against its
schedule, and the gateway's memory. Then how the work spreads over 1 to 8 servers.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

RATE = 50.0
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\r\n\r\n'


async def backend(scope: Any, receive: Any, send: Any) -> None:
    """A server that writes events on schedule, the first one at once."""
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    count = int(dict(scope["headers"]).get(b"x-events", b"20"))
    start = time.monotonic()
    for number in range(count):
        await asyncio.sleep(start + number / RATE - time.monotonic())
        # The clock of one machine: the reader subtracts.
        stamp = b": %.6f\r\n" % time.monotonic()
        await send({"type": "http.response.body", "body": stamp + EVENT, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\r\n\r\n"})


def serve_app(kind: str, urls: list[str], pipe: Connection) -> None:
    """Process of a server or of the gateway: tells its port, then its memory when asked."""
    import socket
    import threading

    import uvicorn

    from tabbyapi.ray.gateway import Gateway
    from tabbyapi.ray.pool import Pool

    app: Any = backend if kind == "backend" else Gateway(Pool(urls, slots=1000, max_queue=10_000))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    pipe.send(listener.getsockname()[1])
    config = uvicorn.Config(app, lifespan="off", log_level="critical", interface="asgi3")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    pipe.recv()
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Process:
    """A server in a process of its own."""

    def __init__(self, kind: str, urls: list[str]) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        target = multiprocessing.get_context("spawn").Process
        self.process = target(target=serve_app, args=(kind, urls, theirs), daemon=True)
        self.process.start()
        self.url = f"http://127.0.0.1:{self.pipe.recv()}"

    def stop(self) -> float:
        """End it, and return the most memory that it had, in MB."""
        self.pipe.send(None)
        used: float = self.pipe.recv()
        self.process.terminate()
        self.process.join()
        return used


async def stream(transport: Any, url: str, session: int, events: int) -> tuple[float, list[float]]:
    """One stream: seconds to its first event, and each event's way from server to client."""
    from tabbyapi._protocol.headers import Headers
    from tabbyapi._transport.base import Request
    from tabbyapi.types.options import Timeout

    headers = Headers(
        {
            "x-session-id": str(session),
            "x-events": str(events),
            "content-type": "application/json",
        }
    )
    target = f"{url}/v1/chat/completions"
    start = time.monotonic()
    answer = await transport.open(Request("POST", target, headers, b"{}", Timeout(), None))
    first, ways = 0.0, []
    while piece := await answer.read():
        now = time.monotonic()
        first = first or now - start
        ways += [now - float(line[2:]) for line in piece.split(b"\r\n") if line.startswith(b": ")]
    return first, ways


async def load(url: str, streams: int, events: int) -> tuple[float, float, float]:
    """Streams that begin within a second: median first event and event, and events a second."""
    from tabbyapi._transport.aio import AsyncSocketTransport
    from tabbyapi._transport.connect import Route

    transport = AsyncSocketTransport(Route(url, proxy=False))

    async def later(number: int) -> tuple[float, list[float]]:
        await asyncio.sleep(number / streams)
        return await stream(transport, url, number, events)

    start = time.monotonic()
    results = await asyncio.gather(*map(later, range(streams)))
    took = time.monotonic() - start
    await transport.close()
    ways = [way for _, found in results for way in found]
    first = statistics.median(first for first, _ in results)
    return first * 1000, statistics.median(ways) * 1000, len(ways) / took


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--many", type=int, default=1000, help="streams for 1 to 8 servers")
    parser.add_argument("--events", type=int, default=50)
    options = parser.parse_args()
    print("servers  streams  way      first event ms  event ms  events/s  gateway MB")
    for count, streams in ((1, options.streams), (1, options.many), (8, options.many)):
        servers = [Process("backend", []) for _ in range(count)]
        gateway = Process("gateway", [server.url for server in servers])
        ways = [("gateway", gateway.url)] + ([("direct", servers[0].url)] if count == 1 else [])
        rows = [(way, asyncio.run(load(url, streams, options.events))) for way, url in ways]
        memory = gateway.stop()
        for server in servers:
            server.stop()
        for way, (first, event, rate) in rows:
            used = f"{memory:10.0f}" if way == "gateway" else ""
            print(
                f"{count:7}  {streams:7}  {way:7}  {first:14.1f}  {event:8.2f}  {rate:8.0f}  {used}"
            )


if __name__ == "__main__":
    main()
