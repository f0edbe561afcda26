"""llama.cpp's native HTTP API, over a unix socket or a private TCP port.

One new connection per request (a kept one broke the next request now and then), and closing it is
what cancels a generation. Cost of a chunk: one typed decode of the fields we need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp
import msgspec

__all__ = ["EngineDied", "EngineRefusal", "Event", "Native", "Timings"]


class EngineDied(Exception):
    """The engine's process went away while it was answering.

    `unreached` tells that it was gone before: it has not seen the request.
    """

    def __init__(self, message: str, *, unreached: bool = False) -> None:
        super().__init__(message)
        self.unreached = unreached


class EngineRefusal(Exception):
    """The engine refused the request. `kind` is its error type, `status` its HTTP status."""

    def __init__(self, message: str, *, status: int = 500, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind

    @property
    def overflow(self) -> bool:
        """Whether the context was too small."""
        return self.kind == "exceed_context_size_error"

    @property
    def crowded(self) -> bool:
        """Whether answers that run at the same time filled the context that they share."""
        return "Context size has been exceeded" in str(self)


class Probability(msgspec.Struct, gc=False):
    """An alternative token."""

    id: int = 0
    token: str = ""
    logprob: float | None = None


class TokenProbability(Probability, gc=False):
    """A generated token with its alternatives."""

    top_logprobs: list[Probability] = []


class Timings(msgspec.Struct, gc=False):
    """What the engine measured, in tokens and milliseconds."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Progress(msgspec.Struct, gc=False):
    """How much of the prompt has been read, in tokens."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class _Error(msgspec.Struct):
    message: str = ""
    type: str = ""
    code: int = 500


class Event(msgspec.Struct, gc=False):
    """One event of `/completion`: progress, text, or the end (`stop`)."""

    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_predicted: int = 0
    completion_probabilities: list[TokenProbability] | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(Event).decode
_NEVER = aiohttp.ClientTimeout(total=None)
_LONG = 65_536  # characters of a text that is encoded in its turn


class Native:
    """A client of one engine process."""

    def __init__(self, address: str, key: str = "") -> None:
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
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close every connection."""
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
            raise _refusal(raw, answer.status)
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

    async def complete(self, payload: dict[str, Any]) -> AsyncGenerator[list[Event], None]:
        """Generate; yields the events of each network read. Close it to cancel.

        Raises `EngineRefusal` (first step: refused; later: failed) and `EngineDied`.
        """
        data = msgspec.json.encode(payload | {"stream": True, "return_progress": True})
        ended = False
        try:
            async with self._session.post(self._base + "/completion", data=data) as answer:
                if answer.status != 200:
                    raise _refusal(await answer.read(), answer.status)
                async with aclosing(_events(answer)) as batches:
                    async for batch in batches:
                        ended = batch[-1].stop
                        yield batch
        except (aiohttp.ClientError, OSError) as error:
            raise _died(error, str(error)) from error
        if not ended:
            raise EngineDied("its answer broke off")


async def _events(answer: aiohttp.ClientResponse) -> AsyncGenerator[list[Event], None]:
    rest = b""
    async for data in answer.content.iter_any():
        *lines, rest = (rest + data).split(b"\n\n")
        batch = []
        for line in lines:
            # "data: {…}", or "error: {…}" from some versions.
            event = _decode(line[line.index(b"{") :]) if b"{" in line else None
            if event is None:
                continue
            if event.error is not None:
                raise EngineRefusal(
                    event.error.message, status=event.error.code, kind=event.error.type
                )
            batch.append(event)
        if batch:
            yield batch


def _died(error: Exception, message: str) -> EngineDied:
    return EngineDied(message, unreached=isinstance(error, aiohttp.ClientConnectorError))


def _refusal(raw: bytes, status: int) -> EngineRefusal:
    try:
        error = msgspec.json.decode(raw, type=dict[str, _Error])["error"]
    except (msgspec.DecodeError, KeyError):
        return EngineRefusal(raw[:300].decode(errors="replace"), status=status)
    return EngineRefusal(error.message, status=status, kind=error.type)
