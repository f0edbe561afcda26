"""Calls of any service, through the sync client and through the async one.

A test asks for the fixture `call`, runs twice, and names what it wants by its path:
`call(url, "models.load", "plain-7b", admin_key=...)`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Protocol

import tabbyapi

from .talk import KEY

__all__ = ["ServiceCall", "call_async", "call_sync"]


class ServiceCall(Protocol):
    """`settings` are the client's; a stream is read to its end and returned with its chunks."""

    def __call__(
        self,
        url: str,
        method: str,
        *args: Any,
        settings: Mapping[str, Any] = ...,
        chunks: list[Any] | None = ...,
        **params: Any,
    ) -> Any: ...


def call_sync(
    url: str,
    method: str,
    *args: Any,
    settings: Mapping[str, Any] | None = None,
    chunks: list[Any] | None = None,
    **params: Any,
) -> Any:
    with tabbyapi.Client(url, **{"api_key": KEY, **(settings or {})}) as client:
        result = attrgetter(method)(client)(*args, **params)
        if not isinstance(result, tabbyapi.Stream):
            return result
        with result as stream:
            for chunk in stream:
                if chunks is not None:
                    chunks.append(chunk)
        return result.response


def call_async(
    url: str,
    method: str,
    *args: Any,
    settings: Mapping[str, Any] | None = None,
    chunks: list[Any] | None = None,
    **params: Any,
) -> Any:
    async def call() -> Any:
        async with tabbyapi.AsyncClient(url, **{"api_key": KEY, **(settings or {})}) as client:
            result = attrgetter(method)(client)(*args, **params)
            if inspect.iscoroutine(result):
                return await result
            async with result as stream:
                async for chunk in stream:
                    if chunks is not None:
                        chunks.append(chunk)
            return result.response

    return asyncio.run(call())
