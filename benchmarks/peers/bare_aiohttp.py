"""aiohttp and the standard library's json, with nothing checked: the least one would write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from . import MESSAGES, Lines, body

__all__ = ["Async"]

_PATH = "/v1/chat/completions"
_HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}


class Async:
    def __init__(self, url: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(url, connector=connector, headers=_HEADERS)

    @asynccontextmanager
    async def stream(self, count: int) -> AsyncIterator[Any]:
        content = json.dumps(body(MESSAGES, count))
        async with self._session.post(_PATH, data=content) as response:
            yield self._chunks(response)

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
        feed = Lines().feed
        async for data in response.content.iter_any():
            for payload in feed(data):
                yield json.loads(payload)

    async def request(self, messages: list[Any]) -> Any:
        async with self._session.post(_PATH, data=json.dumps(body(messages))) as response:
            return json.loads(await response.read())

    def text(self, chunk: Any) -> str:
        return chunk["choices"][0]["delta"].get("content", "")

    async def close(self) -> None:
        await self._session.close()
