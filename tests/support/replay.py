"""A server that answers from a real socket with bytes decided beforehand.

    with ReplayServer(replay(capture, Split.EVERY_BYTE)) as server:
        ...                                    # talk to server.url
    assert server.requests[0].headers["authorization"] == "Bearer test-api-key"

It runs in a thread of its own on a free port, keeps connections alive as the real server does,
records each request byte for byte, and serves a list of replies in order, the last one for ever.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, TypeAlias

from .captures import Capture

__all__ = ["ReplayServer", "Reply", "Request", "Split", "json_reply", "replay", "split"]


class Split(StrEnum):
    """How a response is cut into writes. The network may join neighbours again."""

    WHOLE = "whole"
    FRAMED = "framed"  # head, then each HTTP chunk, as the real server writes
    EVERY_BYTE = "every byte"
    RANDOM = "random"  # anywhere, decided by a seed


Then: TypeAlias = Literal["keep", "close", "hang", "reset"]


@dataclass(frozen=True)
class Reply:
    """What is written after a request, and what happens to the connection then.

    Attributes:
        pieces: the bytes, one write each.
        then: "keep" the connection for another request, "close" it, "hang" (stay silent until
            the client leaves), or "reset" it (RST).
        delay: seconds before the first piece.
        pause: seconds between pieces.
    """

    pieces: Sequence[bytes]
    then: Then = "keep"
    delay: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    raw: bytes
    connection: int
    """Which connection it came on, counted from 0."""

    @cached_property
    def head(self) -> list[str]:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    @property
    def method(self) -> str:
        return self.head[0].split(" ")[0]

    @property
    def target(self) -> str:
        return self.head[0].split(" ")[1]

    @cached_property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; a name that came twice fails."""
        headers: dict[str, str] = {}
        for line in self.head[1:]:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"header sent twice: {name}"
            headers[name.lower()] = value.strip()
        return headers

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def split(pieces: Sequence[bytes], how: Split, seed: int = 0) -> list[bytes]:
    """`pieces` cut anew, as `how` says."""
    if how is Split.FRAMED:
        return list(pieces)
    whole = b"".join(pieces)
    if how is Split.WHOLE:
        return [whole]
    if how is Split.EVERY_BYTE:
        return [whole[i : i + 1] for i in range(len(whole))]
    draw = random.Random(seed)
    cuts = sorted(draw.randrange(len(whole) + 1) for _ in range(draw.randrange(1, 40)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


_AFTER: dict[str, Then] = {
    "complete": "keep",
    "server_closed": "close",
    # The client left these; had it stayed, the server would have stayed silent for a while.
    "client_aborted": "hang",
    "client_stopped_reading": "hang",
}


def replay(capture: Capture, how: Split = Split.FRAMED, seed: int = 0) -> Reply:
    """The recorded answer, byte for byte, ending as it ended."""
    assert not capture.body_left_out, f"{capture.name} has no recorded body"
    return Reply(split(capture.framed, how, seed), _AFTER[capture.end])


def json_reply(status: int, body: bytes | Any, *headers: str, then: Then = "keep") -> Reply:
    """An answer made up: `body` is bytes, or encoded as JSON; `headers` are whole lines."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} Status",
        f"content-length: {len(content)}",
        *(headers or ("content-type: application/json",)),
    ]
    return Reply(["\r\n".join(lines).encode() + b"\r\n\r\n" + content], then)


@dataclass
class ReplayServer:
    """Answers every request with the next reply, the last one again and again.

    Replies may also be functions of the request. Use it as a context manager; `url` is valid
    inside, `requests` and `connections` at any time.
    """

    replies: Reply | Sequence[Reply | Callable[[Request], Reply]]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client closed its connection during an answer or a silence."""
    url: str = ""
    listener: socket.socket | None = None
    """Where it listens; default: a free port of this machine."""

    def __enter__(self) -> ReplayServer:
        self._listener = self.listener or socket.create_server(("127.0.0.1", 0))
        if self.listener is None:
            self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        # Here, not in the thread: a server may be left before its thread has begun.
        self._main = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="replay server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # the loop has stopped already: the server failed
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()
        self._loop.close()
        self._listener.close()
        if not self._main.cancelled() and (failure := self._main.exception()):
            raise failure from error

    def _run(self) -> None:
        with suppress(BaseException):  # __exit__ raises it, in the test's thread
            self._loop.run_until_complete(self._main)

    async def _serve(self) -> None:
        # A task each, gathered on the way out: none outlives the server.
        self._listener.setblocking(False)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await self._loop.sock_accept(self._listener)
                    group.create_task(self._answer(connection, self.connections))
                    self.connections += 1
        finally:
            self._listener.close()

    async def _answer(self, connection: socket.socket, number: int) -> None:
        if connection.family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while raw := await _read_request(reader):
                request = Request(raw, number)
                self.requests.append(request)
                then = await self._reply(request, reader, writer)
                if then == "reset":
                    linger = struct.pack("ii", 1, 0)
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if then != "keep" or "close" in request.headers.get("connection", "").lower():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _reply(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Then:
        replies = [self.replies] if isinstance(self.replies, Reply) else self.replies
        reply = replies[min(len(self.requests), len(replies)) - 1]
        if not isinstance(reply, Reply):
            reply = reply(request)
        await asyncio.sleep(reply.delay)
        for piece in reply.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(reply.pause)
        if reply.then == "hang":
            await reader.read()
            self.left.set()
        return reply.then


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body as they came; b"" if the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""
    body = b""
    for line in _lines(head):
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            body = await reader.readexactly(int(value))
        assert name != b"transfer-encoding", "our clients send bodies with a Content-Length"
    return head + body


def _lines(head: bytes) -> Iterable[bytes]:
    return head.split(b"\r\n")[1:]
