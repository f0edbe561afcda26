"""Ollama's client, over its own protocol: newline-delimited JSON, the same texts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import ollama

from . import MESSAGES

__all__ = ["Async", "Sync"]


class Sync:
    def __init__(self, url: str) -> None:
        self._client = ollama.Client(host=url)

    @contextmanager
    def stream(self, count: int) -> Iterator[Any]:
        yield self._client.chat("m", MESSAGES, stream=True, options={"num_predict": count})

    def request(self, messages: list[Any]) -> Any:
        return self._client.chat("m", messages)

    def text(self, chunk: Any) -> str:
        return chunk.message.content or ""

    def close(self) -> None:
        self._client._client.close()


class Async:
    def __init__(self, url: str) -> None:
        self._client = ollama.AsyncClient(host=url)

    @asynccontextmanager
    async def stream(self, count: int) -> AsyncIterator[Any]:
        yield await self._client.chat("m", MESSAGES, stream=True, options={"num_predict": count})

    async def request(self, messages: list[Any]) -> Any:
        return await self._client.chat("m", messages)

    def text(self, chunk: Any) -> str:
        return chunk.message.content or ""

    async def close(self) -> None:
        await self._client._client.aclose()
