"""llama.cpp's native HTTP API, over a unix socket or a private TCP port.

One new connection per request (a kept one broke the next request now and then), and closing it is
what cancels a generation. Answers that stream go their own way (`completion`): a token must not
cost what a request may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec

from ..mailbox import Mailbox
from .completion import Completion, Flow, Take
from .events import EngineDied, Event, refusal

__all__ = ["Native"]

_NEVER = aiohttp.ClientTimeout(total=None)
_LONG = 65_536  # characters of a text that is encoded in its turn


class Native:
    """A client of one engine process."""

    def __init__(self, address: str, key: str = "") -> None:
        self._address = address
        if address.startswith("http"):
            self._base = address
            connector: aiohttp.BaseConnector = aiohttp.TCPConnector(limit=0, force_close=True)
        else:
            self._base = "http://engine"
            connector = aiohttp.UnixConnector(address, limit=0, force_close=True)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=_NEVER, auto_decompress=False
        )
        lines = ["POST /completion HTTP/1.1", "Host: engine", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join([*lines, "Content-Type: application/json", "Content-Length: "])
        self._open: set[Completion] = set()
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close every connection."""
        for completion in self._open:
            completion.transport.abort()
        await self._session.close()

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
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(method, self._base + path, data=data) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise _died(error, f"the engine stopped ({error})") from error
        if answer.status >= 400:
            raise refusal(raw, answer.status)
        return raw

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
            done.exception()  # which is nobody's if its client has left

    async def follow(
        self, payload: dict[str, Any], take: Take, room: Callable[[], Awaitable[None]]
    ) -> None:
        """Generate; gives `take` the events of each network read. Cancel it to cancel.

        When `take` wants to wait, nothing is read until `room` has been awaited. Returns at the
        end of the answer, or when `take` has enough. Raises `EngineRefusal` (refused, or failed
        later on), `EngineDied`, and what `take` raises.
        """
        body = msgspec.json.encode(payload | {"stream": True, "return_progress": True})
        request = b"%b%d\r\n\r\n%b" % (self._head.encode(), len(body), body)
        try:
            completion = await self._connect(lambda: Completion(request, take))
        except OSError as error:
            raise EngineDied(str(error), unreached=True) from error
        self._open.add(completion)
        try:
            while (outcome := await completion.turn) is True:
                await room()
                completion.resume()
        finally:
            self._open.discard(completion)
            completion.transport.abort()
        if isinstance(outcome, Exception):
            raise outcome

    async def _connect(self, make: Callable[[], Completion]) -> Completion:
        loop = asyncio.get_running_loop()
        if self._address.startswith("http"):
            host, port = self._address.removeprefix("http://").split(":")
            return (await loop.create_connection(make, host, int(port)))[1]
        return (await loop.create_unix_connection(make, self._address))[1]

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


def _died(error: Exception, message: str) -> EngineDied:
    return EngineDied(message, unreached=isinstance(error, aiohttp.ClientConnectorError))
