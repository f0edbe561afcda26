"""Server-sent events as TabbyAPI frames them, and noticing at once that a client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from ..errors import STOPPING, ClientGone, error_event
from .connection import OUTGOING, Outgoing

__all__ = ["DONE", "AnyOutgoing", "EventStream", "ping", "pings", "unless_gone"]

T = TypeVar("T")

_MOST_PENDING = 256  # pieces that wait for a slow client

DONE = b"data: [DONE]\r\n\r\n"

_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
]


def ping() -> bytes:
    """A comment, the sign of life between data."""
    return f": ping - {datetime.now(UTC)}\r\n\r\n".encode()


@contextmanager
def pings(outgoing: Outgoing | SlowOutgoing, interval: float) -> Iterator[None]:
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
        # It may be called in the moment after the work: then there is nothing to cancel.
        if not over and not watched.cancelled():
            left = True
            worker.cancel()

    watch = asyncio.create_task(_gone(receive))
    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        # Ours, unless the request was cancelled from outside as well.
        if left and worker.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        over = True
        watch.cancel()


class SlowOutgoing:
    """What `Outgoing` is, over ASGI's `send`: for servers that offer nothing faster.

    Args:
        send: of ASGI; None collects everything in `pending` instead.
    """

    def __init__(self, send: Send | None) -> None:
        self.pending: list[bytes] = []
        self._send = send
        self._sending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def put(self, piece: bytes) -> bool:
        """Write soon. Returns False if the client reads too slowly: then await `drain`."""
        self.pending.append(piece)
        if self._send is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self.drain())
        return self._send is None or len(self.pending) < _MOST_PENDING

    async def drain(self) -> None:
        """Wait until everything is written."""
        if self._send is None:
            return
        async with self._sending:
            while self.pending:
                body, self.pending = b"".join(self.pending), []
                await self._send({"type": "http.response.body", "body": body, "more_body": True})


AnyOutgoing = Outgoing | SlowOutgoing


class EventStream:
    """An ASGI answer that `produce` writes; it returns what goes out with the end.

    `produce` is cancelled when the client leaves, and when the server is stopped: then the stream
    ends with an error event. `on_close` is called at the end in any case. Clients of HTTP/1.0,
    which know no chunks, get the whole stream at its end.
    """

    def __init__(
        self,
        produce: Callable[[AnyOutgoing], Coroutine[Any, Any, bytes]],
        *,
        on_close: Callable[[], None],
    ) -> None:
        self._produce = produce
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except ClientGone:
            return
        finally:
            self._on_close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = list(_HEADERS)
        if scope["http_version"] == "1.0":
            whole = SlowOutgoing(None)
            last = await self._produced(receive, whole)
            body = b"".join([*whole.pending, last])
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        if not _closes(scope):
            headers.append((b"connection", b"keep-alive"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        outgoing = (scope.get("extensions") or {}).get(OUTGOING) or SlowOutgoing(send)
        last = await self._produced(receive, outgoing)
        if isinstance(outgoing, SlowOutgoing):
            await outgoing.drain()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _produced(self, receive: Receive, outgoing: AnyOutgoing) -> bytes:
        try:
            return await unless_gone(receive, self._produce(outgoing))
        except asyncio.CancelledError:
            return error_event(STOPPING, parity=False)


def _closes(scope: Scope) -> bool:
    """True if the client wants the connection closed, which the HTTP layer then says itself."""
    return any(
        name == b"connection" and b"close" in value.lower() for name, value in scope["headers"]
    )
