"""The part of a stream that has no I/O, shared by its sync and async forms.

Theory of operation. A stream is `OPEN` until one of two things happens, and never opens again:

- `ENDED`: the reader met the end, a good one or an error. Reading on stops without an error.
- `CLOSED`: `close` was called before that, perhaps in another thread. Reading on raises.

One read gives a batch of chunks, and they are delivered from `_batch`, an iterator over the list
`_chunks`. What has been delivered is added up by the decoder's assembler, several batches at a
time. Invariant: `_chunks[:_settled]` is in `_delivered` or in the assembler already; the part from
there to the iterator's position is delivered but not yet taken in.

Three limits on time: `timeout.idle` counts from the last data, `timeout.total` from the start, and
the wait for the next ping from the last byte of any kind, once a server has shown that it pings.
A reader that is slow itself is not the server's silence: waits count from the call of `read`.

In a forked child the stream is of no use, because the connection is the parent's: `forked` takes
the chunks away that were not delivered yet, and reading raises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from operator import length_hint
from typing import Generic, TypeVar

from .._protocol.call import StreamCall
from .._protocol.observing import Operation
from .._protocol.stream import StreamDecoder
from .._transport import fork
from .._transport.base import Request
from ..errors import (
    RequestError,
    StreamClosedError,
    StreamError,
    StreamInterruptedError,
    StreamTimeout,
)

__all__ = ["BaseStream", "Limit", "State"]

C = TypeVar("C")
R = TypeVar("R")

_TOGETHER = 4  # chunks; more of them would make many streams wait for one another
_NO_PING = 30.0  # seconds without any byte after which a server that pings is given up


class State(Enum):
    """How far a stream is."""

    OPEN = 1
    ENDED = 2
    CLOSED = 3


class Limit(Enum):
    """A limit on time that a stream can exceed."""

    IDLE = 1
    PING = 2
    TOTAL = 3


class BaseStream(Generic[C, R]):
    """State shared by `Stream` and `AsyncStream`. Times are those of the clock of the subclass.

    Args:
        call: what was asked for.
        request: with the limits.
        decoder: for this stream alone.
    """

    def __init__(
        self,
        call: StreamCall[C, R],
        request: Request,
        decoder: StreamDecoder[C, R],
    ) -> None:
        self._call = call
        self._decoder = decoder
        decoder.max_event = request.limits.event
        self._idle = request.timeout.idle
        self._total = request.timeout.total
        self._deadline: float | None = None
        self._last_data = self._last_byte = 0.0
        self._pings = 0  # counted so far
        self._last_ping = 0.0  # before the first: the start of the stream
        self._ping_wait = _NO_PING
        self._batch: Iterator[C] = iter(())
        self._chunks: list[C] = []
        self._settled = 0
        self._delivered: list[C] = []
        self._whole: R | None = None  # a plain answer, where the server does not stream
        self._state = State.OPEN
        self._pid = fork.pid
        self._on_end: Callable[[object], None] | None = None  # called once, with the response
        self._operation: Operation | None = None
        fork.watch(self)

    @property
    def response(self) -> R:
        """The chunks delivered so far as one response; complete after the last chunk.

        Raises:
            StreamError: no chunk has been delivered yet.
        """
        response = self._assembled()
        if response is None:
            raise StreamError("nothing has arrived on this stream yet; iterate over it first")
        return response

    @property
    def closed(self) -> bool:
        """True once the stream has been closed, or has ended."""
        return self._state is not State.OPEN

    def forked(self) -> None:
        """In a forked child: take back what has not been delivered."""
        # The iterator, which a loop may hold, ends with its list.
        del self._chunks[len(self._chunks) - length_hint(self._batch) :]

    def _report(self, error: BaseException | None = None) -> None:
        """Tell, once, that the stream is over, well or not."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self._assembled())
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.end(self._assembled(), error)

    def _observe(self, operation: Operation) -> None:
        """Tell an operation of the chunks, and of the end."""
        self._operation = operation
        if self._whole is not None:
            operation.chunk()

    def _assembled(self) -> R | None:
        if self._whole is not None:
            return self._whole
        self._settle()
        return self._decoder.assembler.response()

    def _settle(self) -> None:
        """Add what has been delivered of the batch to the assembled response."""
        # The batch stays as it is: a loop is iterating over it.
        so_far = len(self._chunks) - length_hint(self._batch)
        self._delivered += self._chunks[self._settled : so_far]
        self._settled = so_far
        self._decoder.assembler.add(self._delivered)
        self._delivered.clear()

    def _next_batch(self, chunks: list[C]) -> None:
        # All of the old batch has been delivered. Small ones are kept together for a while: to add
        # them up one by one would cost more.
        delivered = self._delivered
        delivered += self._chunks[self._settled :] if self._settled else self._chunks
        self._settled = 0
        if len(delivered) >= _TOGETHER:
            self._decoder.assembler.add(delivered)
            delivered.clear()
        self._chunks = chunks
        self._batch = iter(chunks)
        if self._operation is not None:
            self._operation.chunk()

    def _plain(self, response: R) -> None:
        """Take the answer of a server that does not stream as the one chunk."""
        self._decoder.done = True
        self._next_batch([self._call.as_chunk(response)])
        self._whole = response

    def _begin(self, now: float) -> None:
        """The server has accepted the stream."""
        self._last_data = self._last_byte = self._last_ping = now

    def _pinged(self, now: float) -> None:
        """Note that pings have come. They are regular, so the longest gap is the rhythm."""
        self._pings = self._decoder.pings
        self._ping_wait = max(self._ping_wait, 2 * (now - self._last_ping))
        self._last_ping = now

    def _next_limit(self) -> tuple[float, Limit] | None:
        """The limit that a silent server exceeds first, and when; None if there is none."""
        limits = []
        if self._idle is not None:
            limits.append((self._last_data + self._idle, Limit.IDLE))
        if self._pings:
            limits.append((self._last_byte + self._ping_wait, Limit.PING))
        if self._deadline is not None:
            limits.append((self._deadline, Limit.TOTAL))
        return min(limits, key=lambda limit: limit[0], default=None)

    def _timeout(self, limit: Limit) -> StreamTimeout:
        """The error of an exceeded limit."""
        pings = self._decoder.pings
        if limit is Limit.TOTAL:
            said = f"the stream was not complete after {self._total:g} s (timeout.total)"
        elif limit is Limit.PING:
            said = (
                f"nothing came for {self._ping_wait:g} s, not even a ping, though the server had "
                f"sent pings before ({pings} so far): it hangs, or the network to it is broken"
            )
        elif pings:
            said = (
                f"no data came for {self._idle:g} s (timeout.idle), though the server still sends "
                f"pings ({pings} so far): it lives, but has perhaps unloaded the model, or is "
                "busy with a very long prompt"
            )
        else:
            said = f"no data came for {self._idle:g} s (timeout.idle), and no pings either"
        return StreamTimeout(said, partial=self._assembled())

    def _failure(self, error: StreamError) -> StreamError:
        error.partial = self._assembled()
        return error

    def _broken(self, error: RequestError) -> StreamError:
        if self._state is State.CLOSED:
            return StreamClosedError(
                "the stream was closed while it was being read", partial=self._assembled()
            )
        return StreamInterruptedError(
            f"{error.message}; the answer is incomplete", partial=self._assembled()
        )

    def _closed_error(self) -> StreamClosedError:
        if self._elsewhere:
            said = "the stream was opened in another process, and cannot be shared"
        else:
            said = "the stream was closed"
        return StreamClosedError(f"{said}; open a new one to go on", partial=self._assembled())

    @property
    def _elsewhere(self) -> bool:
        """True in a forked child: the connection is its parent's, which may be reading."""
        return self._pid != fork.pid

    def _warn_if_open(self) -> bool:
        if self._state is not State.OPEN or self._elsewhere:
            return False
        warnings.warn(
            f"a stream of {self._call.path} was neither read to its end nor closed; use it in a "
            "'with' block",
            ResourceWarning,
            stacklevel=3,
        )
        return True
