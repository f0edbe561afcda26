"""Servers that answer as their tests say, on real sockets, and a gateway before them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from tabbyapi.ray.gateway import Gateway
from tabbyapi.ray.pool import Pool

Send = Callable[[dict[str, Any]], Awaitable[None]]
CHAT = "/v1/chat/completions"


class Listener:
    """An ASGI application under uvicorn, in a thread of its own."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app, lifespan="on", log_level="critical", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self.socket]))

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()


def event(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(chunk | {"choices": [choice]} | more).encode() + b"\r\n\r\n"


class Backend:
    """A scripted TabbyAPI server.

    Attributes:
        script: what becomes of chats: "answer", "hold" (until `go` is set), "break" (no answer),
            "break after ping", "break after text", "error event", or a status.
        seen: the requests, as path and body.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: str | int = "answer"
        self.refuses: dict[str, int] = {}
        self.seen: list[tuple[str, Any]] = []
        self.go = threading.Event()
        self.left = threading.Event()
        self.listener: Listener = Listener(self)

    @property
    def url(self) -> str:
        return self.listener.url

    @property
    def chats(self) -> int:
        return sum(path == CHAT for path, _ in self.seen)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                step = (await receive())["type"]
                await send({"type": f"{step}.complete"})
                if step == "lifespan.shutdown":
                    return
        raw = (await receive())["body"]
        body = json.loads(raw) if raw else None
        path = scope["path"]
        if path != "/health":
            self.seen.append((path, body))
        if path in self.refuses:
            await self.reply(send, {"detail": f"{self.name} cannot"}, self.refuses[path])
        elif path == CHAT:
            await self.chat(body, receive, send)
        elif path == "/v1/model/load":
            await self.load(send)
        else:
            await self.reply(send, None if path != "/health" else {"status": "unhealthy"}, 200)

    async def reply(self, send: Send, body: Any, status: int, **headers: str) -> None:
        pairs = [(b"content-type", b"application/json")]
        pairs += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def begin(self, send: Send) -> None:
        pairs = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})

    async def put(self, send: Send, body: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def load(self, send: Send) -> None:
        await self.begin(send)
        for step, status in ((1, "processing"), (1, "finished")):
            body = {"model_type": "model", "module": step, "modules": 1, "status": status}
            await self.put(send, b"data: " + json.dumps(body).encode() + b"\r\n\r\n")
        await self.put(send, b"", more=False)

    async def chat(self, body: Any, receive: Any, send: Send) -> None:
        script = self.script
        if isinstance(script, int):
            headers = {"retry_after": "2"} if script == 429 else {}
            await self.reply(send, {"detail": f"{self.name} is ill"}, script, **headers)
            return
        if script == "busy":
            await self.reply(send, {"detail": "busy"}, 503, retry_after="2")
            return
        if script == "break":
            raise ConnectionError
        if script == "hold":
            while not self.go.is_set():  # noqa: ASYNC110  # set by another thread
                await asyncio.sleep(0.01)
        if not body.get("stream"):
            message = {"role": "assistant", "content": self.name}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            await self.reply(send, answer | {"choices": [choice]}, 200)
            return
        await self.begin(send)
        if script == "error event":
            await self.put(send, b'data: {"error":{"message":"engine died"}}\r\n\r\n', more=False)
            return
        await self.put(send, b": ping\r\n\r\n")
        if script == "break after ping":
            raise ConnectionError
        await self.put(send, event(self.name))
        if script == "break after text":
            await asyncio.sleep(0.05)
            raise ConnectionError
        if script == "endless":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
            return
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await self.put(send, event("", choices=[last]) + b"data: [DONE]\r\n\r\n", more=False)


class Stack:
    """Backends and a gateway before them."""

    def __init__(self, count: int = 2, **settings: Any) -> None:
        self.backends = [Backend(f"server {i}") for i in range(count)]
        self.pool = Pool([b.url for b in self.backends], **settings)
        self.gateway = Listener(Gateway(self.pool))

    @property
    def url(self) -> str:
        return self.gateway.url

    def named(self, name: str) -> Backend:
        return next(backend for backend in self.backends if backend.name == name)

    def others(self, backend: Backend) -> Iterable[Backend]:
        return (other for other in self.backends if other is not backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for backend in self.backends:
            backend.go.set()
        for listener in (self.gateway, *(backend.listener for backend in self.backends)):
            listener.stop()


def replicas(title: str) -> list[int]:
    """The processes of a cluster's actors, by what they call themselves (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if title.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found
