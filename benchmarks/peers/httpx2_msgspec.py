"""httpx2 with typed decoding by msgspec: what one gets by writing the client oneself, well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import msgspec

from tabbyapi.types import ChatCompletionResponse, ChatCompletionStreamResponse

from . import MESSAGES, Lines, body

__all__ = ["Async", "Sync"]

_PATH = "/v1/chat/completions"
_chunk = msgspec.json.Decoder(ChatCompletionStreamResponse).decode
_response = msgspec.json.Decoder(ChatCompletionResponse).decode
_encode = msgspec.json.encode
_OPTIONS: dict[str, Any] = {
    "headers": {"authorization": "Bearer k", "content-type": "application/json"},
    "timeout": 60,
}


class Sync:
    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, **_OPTIONS)

    @contextmanager
    def stream(self, count: int) -> Iterator[Any]:
        content = _encode(body(MESSAGES, count))
        with self._client.stream("POST", _PATH, content=content) as response:
            yield self._chunks(response)

    def _chunks(self, response: httpx2.Response) -> Iterator[Any]:
        feed = Lines().feed
        for data in response.iter_raw():
            for payload in feed(data):
                yield _chunk(payload)

    def request(self, messages: list[Any]) -> Any:
        answer = self._client.post(_PATH, content=_encode(body(messages)))
        return _response(answer.content)

    def text(self, chunk: Any) -> str:
        return str(chunk.text)

    def close(self) -> None:
        self._client.close()


class Async:
    def __init__(self, url: str) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx2.AsyncClient(base_url=url, limits=limits, **_OPTIONS)

    @asynccontextmanager
    async def stream(self, count: int) -> AsyncIterator[Any]:
        content = _encode(body(MESSAGES, count))
        async with self._client.stream("POST", _PATH, content=content) as response:
            yield self._chunks(response)

    async def _chunks(self, response: httpx2.Response) -> AsyncIterator[Any]:
        feed = Lines().feed
        async for data in response.aiter_raw():
            for payload in feed(data):
                yield _chunk(payload)

    async def request(self, messages: list[Any]) -> Any:
        answer = await self._client.post(_PATH, content=_encode(body(messages)))
        return _response(answer.content)

    def text(self, chunk: Any) -> str:
        return str(chunk.text)

    async def close(self) -> None:
        await self._client.aclose()
