"""Streams of chunks: what `create_stream` of a `Client` hands out.

All decisions are the decoder's; here bytes are read, chunks handed on, and the connection is
given back or dropped. A stream ends well only at `[DONE]`; anything else raises a `StreamError`
whose `partial` holds what had arrived, after the chunks that did arrive have been delivered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from .._protocol.call import StreamCall
from .._transport import fork
from .._transport.base import ByteStream, Request
from ..errors import RequestError, RequestTimeout, StreamError, StreamTimeout
from .base import BaseStream

__all__ = ["Stream"]

C = TypeVar("C")
R = TypeVar("R")
E = TypeVar("E", bound=StreamError)


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
        self._last_data = time.monotonic()
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
        """Reads to the end and returns the assembled response."""
        for _ in self:
            pass
        return self.response

    def close(self) -> None:
        """Stops generation on the server at once. Does nothing if the stream has ended.

        May be called from another thread: a blocked reader gets a `StreamClosedError`.
        """
        if self._closed:
            return
        self._closed = True
        source = self._source
        if source is not None and not self._ended and not self._elsewhere:
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
        if hasattr(self, "_ended") and self._warn_if_open():
            self.close()

    def _fill(self) -> bool:
        """Reads until there are chunks to deliver; False at the good end."""
        if self._ended:
            return False
        if self._closed or self._pid != fork.pid:
            raise self._closed_error()
        decoder, source = self._decoder, self._source
        if source is None:
            self._end()
            return False
        wait = self._idle if self._deadline is None else self._allowed(self._idle)
        while True:
            if decoder.error is not None:
                raise self._fail(self._failure(decoder.error))
            if decoder.done:
                self._end()
                return False
            pings = decoder.pings
            try:
                data = source.read(wait)
            except RequestTimeout:
                raise self._timed_out() from None
            except RequestError as error:
                raise self._fail(self._broken(error)) from None
            chunks = decoder.feed(data) if data else decoder.finish()
            if chunks:
                self._next_batch(chunks)
                self._last_data = time.monotonic()
                return True
            if decoder.pings != pings or self._deadline is not None:
                wait = self._allowed(self._idle)

    def _allowed(self, idle: float | None) -> float | None:
        """Seconds that the next read may take."""
        now = time.monotonic()
        limits = []
        if idle is not None:
            limits.append(self._last_data + idle - now)
        if self._deadline is not None:
            limits.append(self._deadline - now)
        left = min(limits, default=None)
        if left is not None and left <= 0:
            raise self._timed_out()
        return left

    def _timed_out(self) -> StreamTimeout:
        total = self._deadline is not None and time.monotonic() >= self._deadline
        limit = (self._total if total else self._idle) or 0.0
        return self._fail(self._silence(limit, total=total))

    def _fail(self, error: E) -> E:
        self._end(error)
        return error

    def _end(self, error: StreamError | None = None) -> None:
        self._ended = True
        self._report(error)
        if self._source is not None:
            if error is None:
                self._source.finish()
            else:
                self._source.close()
