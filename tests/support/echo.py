"""A fast server that answers every chat with the words it was asked, and can go away and return."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["EchoServer", "chat_answer"]

Decide = Callable[[str, int], "tuple[int, Any] | None"]


def chat_answer(text: str) -> dict[str, Any]:
    """A complete chat answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "eos_reason": "stop_token",
    }
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {"id": "cmpl-1", "model": "echo", "choices": [choice], "usage": usage}


class EchoServer:
    """Answers `echo: <last message>`. Use it as a context manager.

    Args:
        decide: called with the last message and how often it was asked; returns the status and
            body of another answer, or None for the usual one.
        delay: seconds before an answer.

    Attributes:
        asked: how often each message was asked.
        answered: how many answers were written.
    """

    def __init__(self, decide: Decide | None = None, delay: float = 0.0) -> None:
        self.decide: Decide = decide or (lambda text, times: None)
        self.delay = delay
        self.asked: Counter[str] = Counter()
        self.answered = 0
        self.bodies: list[dict[str, Any]] = []
        self.keep_bodies = False
        self.port = 0
        self._connections: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> EchoServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.come_back()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def come_back(self) -> None:
        """Listens again, on the same port."""
        listening = self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]

    def go_away(self) -> None:
        """Drops every connection, as a killed server does, and listens no longer."""

        async def stop() -> None:
            self._server.close()
            self.drop_connections()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()

    def drop_connections(self) -> None:
        """Drops every connection; for `decide`."""
        for connection in list(self._connections):
            connection.abort()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/health":
            return self.decide(path, 0) or (200, {"status": "healthy", "issues": []})
        if path == "/v1/model":
            return self.decide(path, 0) or (200, {"id": "echo", "object": "model"})
        fields = json.loads(body)
        text = fields["messages"][-1]["content"] if "messages" in fields else fields["prompt"]
        self.asked[text] += 1
        if self.keep_bodies:
            self.bodies.append(fields)
        return self.decide(text, self.asked[text]) or (200, chat_answer(f"echo: {text}"))


class _Connection(asyncio.Protocol):
    def __init__(self, server: EchoServer) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        if len(rest) < length:
            return
        self._received = rest[length:]
        status, answer = self._server.answer(head.split(b" ")[1].decode(), rest[:length])
        body = json.dumps(answer).encode()
        reply = (
            b"HTTP/1.1 %d Status\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % (status, len(body))
        )
        asyncio.get_running_loop().call_later(self._server.delay, self._write, reply + body)

    def _write(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._server.answered += 1
            self._transport.write(reply)
