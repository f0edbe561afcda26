"""HTTP itself, in the ways that a strange client may use it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tabbyapi.server.http.connection import OUTGOING, Outgoing, protocol
from tabbyapi.server.settings import Settings

from .conftest import Raw
from .test_limits import BODY, all_of, connect, head, is_served

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n"


def until(sock: socket.socket, *wanted: bytes) -> bytes:
    """What comes until all of these are in it."""
    data = b""
    while not all(each in data for each in wanted):
        more = sock.recv(65536)
        assert more, data
        data += more
    return data


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, int]]:
    """Serves an ASGI application; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options: dict[str, Any] = {"lifespan": "off", "ws": "none", "log_level": "critical"}
        server = uvicorn.Server(uvicorn.Config(app, http=protocol(Settings()), **options))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await running


# ------------------------------------------------------------------- answers in pieces


@pytest.mark.parametrize("leaves", [False, True])
def test_whoever_writes_to_a_client_that_does_not_read_waits_for_it(leaves: bool) -> None:
    piece, sent = b"x" * 10_000, 0

    async def scenario() -> None:
        full, free = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal sent
            await send({"type": "http.response.start", "status": 200, "headers": []})
            outgoing: Outgoing = scope["extensions"][OUTGOING]
            await outgoing.drain()  # there is
            sent = 1
            while outgoing.put(piece):
                sent += 1
            full.set()
            await outgoing.drain()
            free.set()
            await send({"type": "http.response.body", "body": b"end", "more_body": False})

        async with serving(app) as address, asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            writer.write(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await full.wait()
            await asyncio.sleep(0.05)
            assert not free.is_set()
            if leaves:
                writer.transport.abort()
            else:
                data = await reader.read(-1)
                assert data.count(b"x") == sent * len(piece)
                assert data.endswith(b"3\r\nend\r\n0\r\n\r\n")
            await free.wait()
            writer.close()

    asyncio.run(scenario())


# ------------------------------------------------------------------- requests sent ahead


def test_requests_sent_ahead_are_answered_in_their_order(http: Raw) -> None:
    with closing(connect(http)) as sock:
        sock.sendall(HEALTH + head(len(BODY)) + BODY + HEALTH.replace(b"/health", b"/nowhere"))
        data = until(sock, b"healthy", b"choices", b"Not Found")
    assert data.index(b"healthy") < data.index(b"choices") < data.index(b"Not Found")


def test_a_flood_of_requests_sent_ahead_is_cut_off(http: Raw) -> None:
    with closing(connect(http)) as sock:
        with contextlib.suppress(OSError):  # cut off while we are still sending
            sock.sendall(HEALTH * 5000)
        assert all_of(sock).count(GOOD) <= 33
    assert is_served(http)


def test_a_request_is_told_that_its_client_left_though_another_waits_behind_it() -> None:
    async def scenario() -> None:
        served, left = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            served.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        async with serving(app) as address, asyncio.timeout(30):
            _, writer = await asyncio.open_connection(*address)
            writer.write(HEALTH * 2)
            await served.wait()
            writer.close()
            await left.wait()

    asyncio.run(scenario())


# ------------------------------------------------------------------- other protocols


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: close, Upgrade", "Upgrade: anything"),
    ],
)
@pytest.mark.parametrize("piece", [10_000, 1])
def test_an_offer_to_speak_another_protocol_is_passed_over(
    http: Raw, lines: tuple[str, ...], piece: int
) -> None:
    data = head(len(BODY), *lines) + BODY
    with closing(connect(http)) as sock:
        for start in range(0, len(data), piece):
            sock.sendall(data[start : start + piece])
        assert until(sock, b'"choices":').startswith(GOOD)


def test_offers_sent_ahead_are_each_passed_over(http: Raw) -> None:
    offer = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    with closing(connect(http)) as sock:
        sock.sendall(offer * 20)
        data = b""
        while data.count(b"healthy") < 20:
            data += until(sock, b"healthy")
    with closing(connect(http)) as sock:
        sock.sendall(offer.replace(b"1.1", b"1.0"))
        assert all_of(sock).endswith(b'{"status":"healthy","issues":[]}')


def test_a_tunnel_is_refused(http: Raw) -> None:
    with closing(connect(http)) as sock:
        sock.sendall(b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert all_of(sock).startswith(b"HTTP/1.1 400")


# ------------------------------------------------------------------- lengths


def test_a_body_that_cannot_end_in_time_is_refused_at_once(http: Raw) -> None:
    with closing(connect(http)) as sock:
        sock.sendall(head(10**18))
        assert until(sock, b"The body is larger than").startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "lines",
    [
        f"Content-Length: {len(BODY)}",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Content-Length: -1",
    ],
)
def test_a_length_that_is_told_twice_is_refused(http: Raw, lines: str) -> None:
    with closing(connect(http)) as sock:
        sock.sendall(head(len(BODY), lines) + BODY)
        assert all_of(sock).startswith(b"HTTP/1.1 400")
