"""Tests of programs that use this client, without a TabbyAPI server.

`MockTransport` answers in the process, by a function. `replay_server` answers from a real socket,
with bytes that a test decides: broken ones, slow ones, connections that end.

    def answer(request: Request) -> Answer:
        return chat_answer("Hello!")

    client = tabbyapi.Client(transport=MockTransport(answer))
    assert client.chat.create([tabbyapi.user("Hi")]).text == "Hello!"
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, TypeAlias

from ._transport.base import (
    Answer,
    AsyncByteStream,
    AsyncTransport,
    ByteStream,
    Request,
    Transport,
)

__all__ = [
    "Answer",
    "AsyncByteStream",
    "AsyncMockTransport",
    "AsyncTransport",
    "ByteStream",
    "MockTransport",
    "ReceivedRequest",
    "ReplayServer",
    "Reply",
    "Request",
    "Transport",
    "chat_answer",
    "json_answer",
    "json_reply",
    "replay_server",
    "stream_answer",
]


# ------------------------------------------------------------------------------- answers


def json_answer(value: Any, status: int = 200) -> Answer:
    """An answer whose body is JSON."""
    return Answer(status, {"content-type": "application/json"}, json.dumps(value).encode())


def chat_answer(text: str) -> Answer:
    """A complete chat answer with this text."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "mock"}
    return json_answer({**head, "choices": [choice], "usage": usage})


def stream_answer(texts: Iterable[str], *, done: bool = True) -> Answer:
    """A streamed chat answer, one chunk for each text; `done=False` leaves out its `[DONE]`."""
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": "mock"}
    events = [
        json.dumps({**head, "choices": [{"index": 0, "delta": {"content": text}}]})
        for text in texts
    ]
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events += [json.dumps({**head, "choices": [last]}), "[DONE]"] if done else []
    body = "".join(f"data: {event}\r\n\r\n" for event in events)
    return Answer(200, {"content-type": "text/event-stream"}, body.encode())


# ---------------------------------------------------------------------------- transports


class _Body:
    """The body of an answer that is all there, as a stream."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._rest = answer.body

    def read(self, timeout: float | None) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self._rest = b""


class _AsyncBody:
    """`_Body`, awaited."""

    def __init__(self, answer: Answer) -> None:
        self._body = _Body(answer)
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def read(self) -> bytes:
        return self._body.read(None)

    async def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self._body.close()


class MockTransport:
    """A transport for `Client(transport=...)` that answers by a function.

    Args:
        answer: from a `Request` to an `Answer` (see `json_answer`, `stream_answer`). What it
            raises, the caller gets; a `RequestError` is tried again as the retry policy says.

    Attributes:
        requests: those that were answered, oldest first.
    """

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    def send(self, request: Request) -> Answer:
        """The function's answer."""
        self.requests.append(request)
        return self._answer(request)

    def open(self, request: Request) -> ByteStream:
        """The function's answer, as a stream."""
        return _Body(self.send(request))

    def close(self) -> None:
        """There are no connections."""


class AsyncMockTransport:
    """`MockTransport` for `AsyncClient(transport=...)`; the function may be async."""

    def __init__(self, answer: Callable[[Request], Answer | Awaitable[Answer]]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Answer:
        """The function's answer."""
        self.requests.append(request)
        answer = self._answer(request)
        return answer if isinstance(answer, Answer) else await answer

    async def open(self, request: Request) -> AsyncByteStream:
        """The function's answer, as a stream."""
        return _AsyncBody(await self.send(request))

    async def close(self) -> None:
        """There are no connections."""


# ------------------------------------------------------------------------- a real socket


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
class ReceivedRequest:
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


def json_reply(status: int, body: bytes | Any, *headers: str, then: Then = "keep") -> Reply:
    """An answer made up: `body` is bytes, or encoded as JSON; `headers` are whole lines."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} Status",
        f"content-length: {len(content)}",
        *(headers or ("content-type: application/json",)),
    ]
    return Reply(["\r\n".join(lines).encode() + b"\r\n\r\n" + content], then)


def replay_server(*replies: Reply | Callable[[ReceivedRequest], Reply]) -> ReplayServer:
    """A server that answers with these replies in order, the last one again and again.

        with replay_server(json_reply(503, {"detail": "busy"}), json_reply(200, {})) as server:
            client = tabbyapi.Client(server.url)

    It runs in a thread of its own on a free port, and keeps connections alive as TabbyAPI does.
    """
    return ReplayServer(replies)


@dataclass
class ReplayServer:
    """Answers every request with the next reply, the last one again and again.

    Replies may also be functions of the request. Use it as a context manager; `url` is valid
    inside, `requests` and `connections` at any time.
    """

    replies: Reply | Sequence[Reply | Callable[[ReceivedRequest], Reply]]
    requests: list[ReceivedRequest] = field(default_factory=list)
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
                request = ReceivedRequest(raw, number)
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
        self, request: ReceivedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
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
