"""Server-sent events as TabbyAPI frames them, and noticing at once that a client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from .answers import ClientGone

__all__ = ["DONE", "EventStream", "ping", "unless_gone"]

T = TypeVar("T")

DONE = b"data: [DONE]\r\n\r\n"

_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
]


def ping() -> bytes:
    """A comment, the sign of life between data."""
    return f": ping - {datetime.now(UTC)}\r\n\r\n".encode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but cancel it and raise `ClientGone` as soon as the client leaves."""
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


class EventStream:
    """An ASGI answer made of a generator's pieces, which this one task writes.

    The generator is closed, and what it holds let go, when the client leaves; `on_close` is
    called at the end in any case.
    """

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], *, on_close: Callable[[], None]
    ) -> None:
        self._pieces = pieces
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await unless_gone(receive, self._write(send))
        except ClientGone:
            return
        finally:
            await self._pieces.aclose()
            self._on_close()

    async def _write(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
