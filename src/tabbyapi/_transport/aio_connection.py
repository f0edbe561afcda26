"""A connection of asyncio: what is received is parsed where it arrives.

Theory of operation. The event loop calls in (`data_received`, `connection_lost`, ...), a stream's
task calls from the other side (`ask`, `taken`, `arrival`). Bytes of the body wait in `_pieces`; a
task that finds none awaits `arrival`, one future at a time. The connection is lost (`_lost`) once
it has ended, failed or was closed here, and never comes back; `_failed` then holds the error for
the reader, if there is one. Pieces that came before a failure are taken first. While more than
`_HIGH` bytes wait, the loop does not read on.

Cost of a read: one call from the loop, and one wake of the task that waits for it.
"""

from __future__ import annotations

import asyncio
from typing import cast

from .http1 import AnswerReader, CutOffError, HTTPError, MaskedBytes, State

__all__ = ["AsyncConnection", "BufferedConnection"]

_HIGH = 2**18  # bytes that may wait to be read before the server is made to wait
_PIECE = 2**18  # of a long request, sent at once


class AsyncConnection(asyncio.Protocol):
    """Carries one exchange after another.

    Attributes:
        answered: whether any byte of an answer has come, in this exchange.
        idle_since: the end of the exchange before, by the monotonic clock.
    """

    __slots__ = (
        "_cut_short",
        "_failed",
        "_loop",
        "_lost",
        "_paused",
        "_pieces",
        "_reader",
        "_transport",
        "_waiter",
        "_waiting",
        "_writable",
        "answered",
        "idle_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport
        self._reader: AnswerReader | None = None
        self._pieces: list[bytes] = []  # of the body, not yet read
        self._waiting = 0  # bytes of them
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # set while sending must wait
        self._failed: BaseException | None = None
        self._lost = False
        self._cut_short = False  # the server answered before it had the whole request
        self.answered = False
        self.idle_since = 0.0

    # What a stream calls.

    def quiet(self) -> bool:
        """Whether the connection is open. What comes without being asked for closes it."""
        return not self._lost

    async def ask(
        self, head: MaskedBytes, body: bytes | None, limit: int, timeout: float | None
    ) -> AnswerReader:
        """Sends a request, or as much of it as the server wants, and awaits the answer's head.

        Raises:
            TimeoutError: no head came within `timeout` seconds.
            HTTPError, OSError: no answer came, or none of HTTP/1.
        """
        reader = self._reader = AnswerReader(limit)
        self.answered = False
        timer = None if timeout is None else self._loop.call_later(timeout, self._expire)
        try:
            if body is None or len(body) <= _PIECE:
                self._transport.write(head if body is None else head + body)
            else:
                self._transport.write(head)
                await self._send(body, reader)
            while not reader.status:
                await self.arrival()
        finally:
            if timer is not None:
                timer.cancel()
        return reader

    def arrival(self) -> asyncio.Future[None]:
        """Awaited, something has arrived, the end perhaps. Ask for what is `taken` first.

        Raises:
            TimeoutError, HTTPError, OSError: nothing will, see `ask`.
        """
        if self._failed is not None:
            raise self._failed
        if self._lost:
            raise CutOffError("it was closed here")
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("two tasks read the same stream; give each a stream of its own")
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def taken(self) -> bytes:
        """What has arrived of the body and was not read; b"" if nothing has."""
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def expire_in(self, seconds: float) -> asyncio.TimerHandle:
        """Fail with a `TimeoutError` after so many seconds, unless this timer is cancelled."""
        return self._loop.call_later(seconds, self._expire)

    def leave(self) -> bool:
        """Ends the exchange once its body is over; whether the connection may carry another."""
        reader, self._reader = self._reader, None
        if reader is None or not reader.reusable or self._cut_short or self._lost:
            return False
        return not self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Drops the connection at once; a reader gets what has arrived, and then b""."""
        self._reader, self._lost = None, True
        self._abort()
        self._wake()

    discard = close

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes | memoryview) -> None:
        reader = self._reader
        if reader is None:  # no request is under way
            self.close()
            return
        self.answered = True
        try:
            piece = reader.feed(data)
            if piece:
                self._pieces.append(piece)
                self._waiting += len(piece)
                if self._waiting > _HIGH and not self._paused and not reader.done:
                    self._paused = True
                    self._transport.pause_reading()
            if reader.state is State.FAILED:
                reader.check()
        except HTTPError as error:
            self._fail(error)
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (piece or reader.status):
            waiter.set_result(None)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def _send(self, body: bytes, reader: AnswerReader) -> None:
        """Sends a long body piece by piece, until the server has answered or left."""
        rest = memoryview(body)
        while rest and not reader.status and not self._lost and self._failed is None:
            self._transport.write(rest[:_PIECE])
            rest = rest[_PIECE:]
            if self._writable is None:
                await asyncio.sleep(0)
            else:
                self._waiter = self._writable
                await self._writable
        self._cut_short = bool(rest)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _expire(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: BaseException) -> None:
        if self._failed is None:
            self._failed = error
        self._lost = True
        self._abort()
        self._wake()

    def _abort(self) -> None:
        # Closing would wait until all is sent, perhaps for ever.
        if not self._loop.is_closed():
            self._transport.abort()

    def _end(self, error: Exception | None) -> None:
        """The connection has ended: with it perhaps the body, and all waiting."""
        self._lost = True
        reader = self._reader
        if reader is not None and not reader.done and self._failed is None:
            try:
                if error is None:
                    reader.end()
                else:
                    self._failed = error
            except HTTPError as cut:
                self._failed = cut
        self._wake()
        self.resume_writing()


class BufferedConnection(AsyncConnection, asyncio.BufferedProtocol):
    """A connection of asyncio's own selector loops, which receive into a buffer of all connections.

    Otherwise they make one of 256 KiB for each read, and shrink it: three calls of the system.

    Args:
        buffer: for one loop, which fills it and tells of it at once.
    """

    __slots__ = ("_buffer",)

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        super().__init__(loop)
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])
