"""openai's client, as its documentation shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai

from . import MESSAGES

__all__ = ["Async", "Sync"]

_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def _text(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


class Sync:
    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key="k")

    @contextmanager
    def stream(self, count: int) -> Iterator[Any]:
        with self._client.chat.completions.create(
            model="m", messages=MESSAGES, max_tokens=count, **_STREAM
        ) as chunks:
            yield chunks

    def request(self, messages: list[Any]) -> Any:
        return self._client.chat.completions.create(model="m", messages=messages)

    def text(self, chunk: Any) -> str:
        return _text(chunk)

    def close(self) -> None:
        self._client.close()


class Async:
    def __init__(self, url: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k")

    @asynccontextmanager
    async def stream(self, count: int) -> AsyncIterator[Any]:
        async with await self._client.chat.completions.create(
            model="m", messages=MESSAGES, max_tokens=count, **_STREAM
        ) as chunks:
            yield chunks

    async def request(self, messages: list[Any]) -> Any:
        return await self._client.chat.completions.create(model="m", messages=messages)

    def text(self, chunk: Any) -> str:
        return _text(chunk)

    async def close(self) -> None:
        await self._client.close()
