"""Streams of chunks: what `create_stream` of a `Client` returns.

The decoder decides what bytes mean; here they are read, chunks are delivered, and the connection is
given back or dropped. A stream ends well only at `[DONE]`; anything else raises a `StreamError`
whose `partial` holds what had arrived, after the chunks that did arrive have been delivered. The
states are in `base`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from .._protocol.call import StreamCall
from .._transport import fork
from .._transport.base import ByteStream, Request
from ..errors import RequestError, RequestTimeout
from .base import BaseStream, Limit, State

__all__ = ["Stream"]

C = TypeVar("C")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


class Stream(BaseStream[C, R]):
    """A stream of chunks. Iterate over it; use it in a `with` block, or `close` it.

    Iteration raises, with what had arrived in `error.partial`: `StreamInterruptedError` (the
    connection broke, or there was no `[DONE]`), `StreamTimeout` (silence), `StreamError` (the
    server reported an error), `StreamClosedError` (closed before).
    """

    def __init__(
        self,
        call: StreamCall[C, R],
        request: Request,
        source: ByteStream | None,
        whole: R | None = None,
    ) -> None:
        super().__init__(call, request, call.decoder())
        self._source = source
        self._begin(time.monotonic())
        self._deadline = request.deadline
        if whole is not None:
            self._plain(whole)

    def __iter__(self) -> Iterator[C]:
        while True:
            yield from self._batch
            if not self._fill():
                return

    def __next__(self) -> C:
        for chunk in self._batch:
            return chunk
        if self._fill():
            return next(self._batch)
        raise StopIteration

    def text_deltas(self) -> Iterator[str]:
        """The text of each chunk that has any, of its first choice."""
        for chunk in self:
            text: str = chunk.text  # type: ignore[attr-defined]
            if text:
                yield text

    def until_done(self) -> R:
        """Read to the end and returns the assembled response."""
        for _ in self:
            pass
        return self.response

    def close(self) -> None:
        """Stop generation on the server at once. Does nothing if the stream has ended.

        May be called from another thread: a blocked reader gets a `StreamClosedError`.
        """
        if self._state is not State.OPEN:
            return
        self._state = State.CLOSED
        if self._elsewhere:
            return
        source = self._source
        if source is not None:
            if self._decoder.done:
                source.finish()
            else:
                source.close()
        self._report()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_state") and self._warn_if_open():
            self.close()

    def _fill(self) -> bool:
        """Read until there are chunks to deliver; False at the good end."""
        if self._state is not State.OPEN or self._pid != fork.pid:
            if self._state is State.ENDED:
                return False
            raise self._closed_error()
        decoder, source = self._decoder, self._source
        if source is None:
            self._end()
            return False
        now = self._last_data = self._last_byte = time.monotonic()
        wait = self._wait(now) if self._pings or self._deadline is not None else self._idle
        while True:
            if decoder.error is not None:
                raise self._fail(self._failure(decoder.error))
            if decoder.done:
                self._end()
                return False
            try:
                data = source.read(wait)
            except RequestTimeout:
                limit = self._next_limit()
                which = Limit.IDLE if limit is None else limit[1]
                raise self._fail(self._timeout(which)) from None
            except RequestError as error:
                raise self._fail(self._broken(error)) from None
            chunks = decoder.feed(data) if data else decoder.finish()
            if decoder.pings != self._pings:
                self._pinged(time.monotonic())
            if chunks:
                self._next_batch(chunks)
                return True
            now = self._last_byte = time.monotonic()
            wait = self._wait(now)

    def _wait(self, now: float) -> float | None:
        """Seconds that the next read may take.

        Raises:
            StreamTimeout: there are none left.
        """
        limit = self._next_limit()
        if limit is None:
            return None
        if limit[0] <= now:
            raise self._fail(self._timeout(limit[1]))
        return limit[0] - now

    def _fail(self, error: E) -> E:
        self._end(error)
        return error

    def _end(self, error: BaseException | None = None) -> None:
        if self._state is State.OPEN:
            self._state = State.ENDED
        self._report(error)
        if self._source is not None:
            if error is None:
                self._source.finish()
            else:
                self._source.close()
