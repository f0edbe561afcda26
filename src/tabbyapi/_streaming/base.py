"""What a stream has delivered, how long it has been quiet, and why it ended: the part of a stream
that has no I/O, shared by its sync and async forms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
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

__all__ = ["BaseStream"]

C = TypeVar("C")
R = TypeVar("R")

_TOGETHER = 4  # chunks; more of them would make many streams wait for one another


class BaseStream(Generic[C, R]):
    """What the twins share: what was delivered, how long it has been quiet, and why it ended."""

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
        self._batch: Iterator[C] = iter(())
        self._chunks: list[C] = []  # the batch being delivered
        self._settled = 0  # of them, taken into what follows
        self._delivered: list[C] = []  # and not yet added up
        self._whole: R | None = None  # a plain answer, where the server does not stream
        self._closed = False
        self._ended = False  # nothing more will come
        self._pid = fork.pid
        self._on_end: Callable[[object], None] | None = None  # called once, with the response
        self._operation: Operation | None = None

    def _report(self, error: BaseException | None = None) -> None:
        """Tell, once, that the stream is over, well or not."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self._assembled())
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.end(self._assembled(), error)

    def _observe(self, operation: Operation) -> None:
        """Tell an operation of the first chunk, and of the end."""
        self._operation = operation
        if self._whole is not None:
            operation.chunk()

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
        return self._closed or self._ended

    def _assembled(self) -> R | None:
        if self._whole is not None:
            return self._whole
        self._settle()
        return self._decoder.assembler.response()

    def _settle(self) -> None:
        """Adds what has been delivered of the batch to the assembled response."""
        # The batch stays as it is: somebody is iterating over it.
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
        """The one chunk of a server that answered without streaming."""
        self._decoder.done = True
        self._next_batch([self._call.as_chunk(response)])
        self._whole = response

    def _failure(self, error: StreamError) -> StreamError:
        error.partial = self._assembled()
        return error

    def _broken(self, error: RequestError) -> StreamError:
        if self._closed:
            return StreamClosedError(
                "the stream was closed while it was being read", partial=self._assembled()
            )
        return StreamInterruptedError(
            f"{error.message}; the answer is incomplete", partial=self._assembled()
        )

    def _silence(self, seconds: float, *, total: bool) -> StreamTimeout:
        pings = self._decoder.pings
        if total:
            said = f"the stream was not complete after {seconds:g} s (timeout.total)"
        elif pings:
            said = (
                f"no data came for {seconds:g} s (timeout.idle), though the server still sends "
                f"pings ({pings} so far): it lives, but has perhaps unloaded the model, or is "
                "busy with a very long prompt"
            )
        else:
            said = f"no data came for {seconds:g} s (timeout.idle), and no pings either"
        return StreamTimeout(said, partial=self._assembled())

    def _closed_error(self) -> StreamClosedError:
        if self._elsewhere:
            said = "the stream was opened in another process, and cannot be shared"
        else:
            said = "the stream was closed"
        return StreamClosedError(f"{said}; open a new one to go on", partial=self._assembled())

    @property
    def _elsewhere(self) -> bool:
        """Whether this is a forked child: the connection is its parent's, who may be reading."""
        return self._pid != fork.pid

    def _warn_if_open(self) -> bool:
        if self._closed or self._ended or self._elsewhere:
            return False
        warnings.warn(
            f"a stream of {self._call.path} was neither read to its end nor closed; use it in a "
            "'with' block",
            ResourceWarning,
            stacklevel=3,
        )
        return True
