"""Server-sent events as TabbyAPI frames them, and noticing at once that a client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from ..errors import ClientGone
from .connection import OUTGOING, Outgoing

__all__ = ["DONE", "EventStream", "ping", "pings", "unless_gone"]

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


@contextmanager
def pings(outgoing: Outgoing, interval: float) -> Iterator[None]:
    """Sends one every `interval` seconds, none where that is 0."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal timer
        outgoing.put(ping())
        timer = loop.call_later(interval, tick)

    if interval > 0:
        timer = loop.call_later(interval, tick)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but cancel it and raise `ClientGone` as soon as the client leaves.

    Costs one task, which watches.
    """
    worker = asyncio.current_task()
    assert worker is not None
    left = over = False

    def leave(watched: asyncio.Task[None]) -> None:
        nonlocal left
        # It may be called in the moment after the work: then nobody is to be cancelled.
        if not over and not watched.cancelled():
            left = True
            worker.cancel()

    watch = asyncio.create_task(_gone(receive))
    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        # Ours, unless somebody else has cancelled the request as well.
        if left and worker.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        over = True
        watch.cancel()


class EventStream:
    """An ASGI answer that `produce` writes; it returns what goes out with the end.

    It is cancelled when the client leaves; `on_close` is called at the end in any case.
    """

    def __init__(
        self,
        produce: Callable[[Outgoing], Coroutine[Any, Any, bytes]],
        *,
        on_close: Callable[[], None],
    ) -> None:
        self._produce = produce
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            outgoing: Outgoing = scope["extensions"][OUTGOING]
            last = await unless_gone(receive, self._produce(outgoing))
            await send({"type": "http.response.body", "body": last, "more_body": False})
        except ClientGone:
            return
        finally:
            self._on_close()
