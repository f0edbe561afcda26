"""Mixed load of both clients against one local server, and a tally of what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tabbyapi
from tabbyapi import LocalServer, system, user
from tabbyapi._transport.aio import AsyncSocketTransport
from tabbyapi._transport.base import Answer, AsyncByteStream, ByteStream, Request
from tabbyapi._transport.connect import Route
from tabbyapi._transport.sync import SocketTransport

__all__ = ["Tally", "admin", "async_worker", "sync_worker"]


@dataclass
class Tally:
    """What happened. Shared by all workers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    characters: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        with self.lock:
            self.outcomes[name] += 1

    def failed(self, error: BaseException) -> None:
        """Every failure must be an error of the tree that says something."""
        self.count(type(error).__name__)
        if not isinstance(error, tabbyapi.TabbyError) or not str(error) or not error.code:
            self.unexpected.append(f"{type(error).__name__}: {error}")

    def answered(self, response: tabbyapi.ChatCompletionResponse) -> None:
        """A plain answer has its usage, unless an unload cut it short: then it has no reason."""
        if response.usage is not None:
            self.count("answers")
        elif response.choices[0].eos_reason is None:
            self.count("answers cut by an unload")
        else:
            self.unexpected.append("an answer that is complete has no usage")

    def compared(self, text: str, delivered: list[str], raw: bytes) -> None:
        """Text, as assembled and as delivered, against what the server sent."""
        sent = _checksum(_sent(raw))
        with self.lock:
            self.outcomes["texts compared"] += 1
            self.characters += len(text)
        if not sent == _checksum(text) == _checksum("".join(delivered)):
            self.unexpected.append(f"text differs from what the server sent: {text[:80]!r}")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sent(raw: bytes) -> str:
    """The text of a stream, read in another way than the client does."""
    text = ""
    for line in raw.decode().split("\r\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text


# Transports that keep what came in, on its way to the decoder.


@dataclass
class _Tapped:
    stream: ByteStream
    raw: bytearray

    def __post_init__(self) -> None:
        self.status = self.stream.status
        self.headers: Mapping[str, str] = self.stream.headers

    def read(self, timeout: float | None) -> bytes:
        data = self.stream.read(timeout)
        self.raw += data
        return data

    def finish(self) -> None:
        self.stream.finish()

    def close(self) -> None:
        self.stream.close()


@dataclass
class Tap:
    """A sync transport; `raw` is the body of the last stream of this thread's worker."""

    real: SocketTransport
    raw: bytearray = field(default_factory=bytearray)

    def send(self, request: Request) -> Answer:
        return self.real.send(request)

    def open(self, request: Request) -> ByteStream:
        self.raw = bytearray()
        return _Tapped(self.real.open(request), self.raw)

    def close(self) -> None:
        self.real.close()


@dataclass
class _AsyncTapped:
    stream: AsyncByteStream
    raw: bytearray

    def __post_init__(self) -> None:
        self.status = self.stream.status
        self.headers: Mapping[str, str] = self.stream.headers

    async def read(self) -> bytes:
        data = await self.stream.read()
        self.raw += data
        return data

    async def finish(self) -> None:
        await self.stream.finish()

    def close(self) -> None:
        self.stream.close()


@dataclass
class AsyncTap:
    """`Tap`, awaited."""

    real: AsyncSocketTransport
    raw: bytearray = field(default_factory=bytearray)

    async def send(self, request: Request) -> Answer:
        return await self.real.send(request)

    async def open(self, request: Request) -> AsyncByteStream:
        self.raw = bytearray()
        return _AsyncTapped(await self.real.open(request), self.raw)

    async def close(self) -> None:
        await self.real.close()


# What a worker does, drawn anew each time.

ACTS = ("stream", "stream", "stream", "create", "leave", "refused", "tokens", "timeout")


def _params(draw: random.Random) -> dict[str, Any]:
    return {"max_tokens": draw.randrange(1, 300), "temperature": draw.choice([0.0, 1.0])}


def _messages(draw: random.Random) -> list[Any]:
    return [system("Be brief."), user("x" * draw.randrange(1, 400))]


def sync_worker(server: LocalServer, tally: Tally, stop: threading.Event, seed: int) -> None:
    """Talks with one `Client` until `stop`."""
    draw = random.Random(seed)
    tap = Tap(SocketTransport(Route(server.url)))
    with server.client(transport=tap, retry=1) as client:
        while not stop.is_set():
            try:
                _act(client, tap, draw, tally)
            except Exception as error:
                tally.failed(error)


def _act(client: tabbyapi.Client, tap: Tap, draw: random.Random, tally: Tally) -> None:
    act = draw.choice(ACTS)
    messages, params = _messages(draw), _params(draw)
    if act in ("stream", "leave"):
        leave_after = draw.randrange(1, 40) if act == "leave" else None
        delivered: list[str] = []
        with client.chat.create_stream(messages, **params) as stream:
            for n, chunk in enumerate(stream):
                delivered.append(chunk.text)
                if n == leave_after:
                    break
            else:
                tally.compared(stream.response.text, delivered, bytes(tap.raw))
        tally.count("streams read" if leave_after is None else "streams left early")
    elif act == "create":
        tally.answered(client.chat.create(messages, **params))
    elif act == "tokens":
        assert client.tokens.count("some words to count")
        tally.count("tokens counted")
    elif act == "refused":
        client.chat.create([user("Hello")], extra_body={"max_tokens": "many"})
        tally.unexpected.append("a request that is wrong was answered")
    else:
        client.chat.create(messages, max_tokens=4000, timeout=draw.uniform(0.01, 0.1))
        tally.count("answers")


async def async_worker(
    client: tabbyapi.AsyncClient, tap: AsyncTap, tally: Tally, stop: threading.Event, seed: int
) -> None:
    """`sync_worker`, with one `AsyncClient`; leaves by cancelling its tasks."""
    draw = random.Random(seed)
    while not stop.is_set():
        try:
            await _act_async(client, tap, draw, tally)
        except Exception as error:
            tally.failed(error)


async def _act_async(
    client: tabbyapi.AsyncClient, tap: AsyncTap, draw: random.Random, tally: Tally
) -> None:
    act = draw.choice(ACTS)
    messages, params = _messages(draw), _params(draw)
    if act in ("stream", "leave"):
        delivered: list[str] = []

        async def read() -> None:
            async with client.chat.create_stream(messages, **params) as stream:
                async for chunk in stream:
                    delivered.append(chunk.text)  # noqa: PERF401  (kept when cancelled)
                tally.compared(stream.response.text, delivered, bytes(tap.raw))

        task = asyncio.create_task(read())
        if act == "leave":
            await asyncio.wait([task], timeout=draw.uniform(0.001, 0.1))
            task.cancel()
        try:
            await task
            tally.count("streams read")
        except asyncio.CancelledError:
            tally.count("tasks cancelled")
    elif act == "create":
        tally.answered(await client.chat.create(messages, **params))
    elif act == "tokens":
        assert await client.tokens.count("some words to count")
        tally.count("tokens counted")
    elif act == "refused":
        await client.chat.create([user("Hello")], extra_body={"max_tokens": "many"})
        tally.unexpected.append("a request that is wrong was answered")
    else:
        await client.chat.create(messages, max_tokens=4000, timeout=draw.uniform(0.01, 0.1))
        tally.count("answers")


def admin(server: LocalServer, names: list[str], tally: Tally, stop: threading.Event) -> None:
    """Unloads the model and loads another, every few seconds."""
    turn = 0
    with server.client() as client:
        while not stop.wait(4):
            try:
                turn += 1
                client.models.unload()
                tally.count("unloads")
                stop.wait(0.3)
                client.models.load(names[turn % len(names)])
                tally.count("loads")
            except Exception as error:
                tally.failed(error)
