"""llama.cpp's native HTTP API, over a unix socket or a private TCP port.

One new connection per request (a kept one broke the next request now and then), and closing it is
what cancels a generation. An answer comes whole (`exchange`), or in events (`completion`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from .completion import Completion, Flow, Take
from .events import EngineDied, Event, refusal
from .exchange import Exchange
from .mailbox import Mailbox

__all__ = ["Native"]

P = TypeVar("P", Completion, Exchange)

_LONG = 65_536  # characters of a text that is encoded in its turn


class Native:
    """A client of one engine process."""

    def __init__(self, address: str, key: str = "") -> None:
        self._address = address
        lines = ["Host: engine", "Connection: close"]
        lines += [f"Authorization: Bearer {key}"] if key else []
        self._head = "\r\n".join([*lines, "Content-Type: application/json", "Content-Length: "])
        self._open: set[Completion | Exchange] = set()
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close every connection."""
        for each in self._open:
            each.transport.abort()

    async def get(self, path: str) -> Any:
        """JSON of a GET."""
        return await self._json("GET", path, None)

    async def post(self, path: str, body: Any) -> Any:
        """JSON of a POST. Raises `EngineRefusal`, `EngineDied`."""
        return await self._json("POST", path, body)

    async def _json(self, method: str, path: str, body: Any) -> Any:
        return msgspec.json.decode(await self._raw(method, path, body))

    async def post_raw(self, path: str, body: Any) -> bytes:
        """The body of a POST's answer. Raises `EngineRefusal`, `EngineDied`."""
        return await self._raw("POST", path, body)

    async def _raw(self, method: str, path: str, body: Any) -> bytes:
        data = b"" if body is None else msgspec.json.encode(body)
        request = self._request(method, path, data)
        exchange = await self._connect(lambda: Exchange(request))
        with self._held(exchange):
            status, raw = await exchange.answer
        if status >= 400:
            raise refusal(raw, status)
        return raw

    def _request(self, method: str, path: str, data: bytes) -> bytes:
        return f"{method} {path} HTTP/1.1\r\n{self._head}{len(data)}\r\n\r\n".encode() + data

    @contextmanager
    def _held(self, each: Completion | Exchange) -> Iterator[None]:
        """An open connection, closed at the end of the block: that ends what it asked for."""
        self._open.add(each)
        try:
            yield
        finally:
            self._open.discard(each)
            each.transport.abort()

    async def tokenize(self, text: str, *, special: bool = True, bos: bool = True) -> list[int]:
        """Token ids of a text; `special` reads markup such as `<|im_end|>` as one token.

        Long texts are encoded one after another: full of markup, a megabyte takes the engine ten
        seconds, and its threads, which it cannot be made to stop, are few.
        """
        work = self._tokenize({"content": text, "add_special": bos, "parse_special": special})
        if len(text) < _LONG:
            return await work
        try:
            await self._turn.acquire()
        except BaseException:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._next_turn)
        return await asyncio.shield(task)

    async def _tokenize(self, body: dict[str, Any]) -> list[int]:
        tokens: list[int] = (await self.post("/tokenize", body))["tokens"]
        return tokens

    def _next_turn(self, done: asyncio.Task[list[int]]) -> None:
        self._turn.release()
        if not done.cancelled():
            done.exception()  # retrieved, or asyncio would warn of it if the client has left

    async def follow(
        self, payload: dict[str, Any], take: Take, room: Callable[[], Awaitable[None]]
    ) -> None:
        """Generate; gives `take` the events of each network read. Cancel it to cancel.

        When `take` wants to wait, nothing is read until `room` has been awaited. Returns at the
        end of the answer, or when `take` has enough. Raises `EngineRefusal` (refused, or failed
        later on), `EngineDied`, and what `take` raises.
        """
        body = msgspec.json.encode(payload | {"stream": True, "return_progress": True})
        request = self._request("POST", "/completion", body)
        completion = await self._connect(lambda: Completion(request, take))
        with self._held(completion):
            while (outcome := await completion.turn) is True:
                await room()
                completion.resume()
        if isinstance(outcome, Exception):
            raise outcome

    async def _connect(self, make: Callable[[], P]) -> P:
        """A connection; raises `EngineDied` that tells it was not reached."""
        loop = asyncio.get_running_loop()
        try:
            if self._address.startswith("http"):
                host, port = self._address.removeprefix("http://").split(":")
                return (await loop.create_connection(make, host, int(port)))[1]
            return (await loop.create_unix_connection(make, self._address))[1]
        except OSError as error:
            lost = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
            raise EngineDied(str(error), unreached=True, lost=lost) from error

    async def complete(self, payload: dict[str, Any]) -> AsyncGenerator[list[Event], None]:
        """Generate; yields the events of each network read. Close it to cancel.

        `follow` for those who would rather ask than be told. Raises what that does.
        """
        mailbox: Mailbox[list[Event]] = Mailbox()

        def take(events: list[Event]) -> Flow:
            return Flow.MORE if mailbox.put(events) else Flow.WAIT

        async def follow() -> None:
            try:
                await self.follow(payload, take, mailbox.room)
            finally:
                mailbox.put([])

        task = asyncio.create_task(follow())
        try:
            while True:
                for events in await mailbox.take():
                    if not events:
                        await task
                        return
                    yield events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
