"""This project's client."""

from __future__ import annotations

from typing import Any

import tabbyapi

from . import MESSAGES

__all__ = ["Async", "Sync"]


class Sync:
    def __init__(self, url: str) -> None:
        self._client = tabbyapi.Client(url, api_key="k")

    def stream(self, count: int) -> Any:
        return self._client.chat.create_stream(MESSAGES, max_tokens=count)

    def request(self, messages: list[Any]) -> Any:
        return self._client.chat.create(messages)

    def text(self, chunk: Any) -> str:
        return str(chunk.text)

    def close(self) -> None:
        self._client.close()


class Async:
    def __init__(self, url: str) -> None:
        self._client = tabbyapi.AsyncClient(url, api_key="k")

    def stream(self, count: int) -> Any:
        return self._client.chat.create_stream(MESSAGES, max_tokens=count)

    async def request(self, messages: list[Any]) -> Any:
        return await self._client.chat.create(messages)

    def text(self, chunk: Any) -> str:
        return str(chunk.text)

    async def close(self) -> None:
        await self._client.close()
