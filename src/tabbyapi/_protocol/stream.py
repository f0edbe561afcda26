"""From the bytes of a generation stream to typed chunks, and to the whole answer.

A state machine without I/O: `feed` bytes, take chunks, ask `done`. One typed decode for each
event and nothing else on the way. Chunks are added up in batches, so that a stream whose
assembled response is never read costs little more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from ..errors import StreamContextLengthError, StreamError, StreamInterruptedError
from .decode import Decoder, Halves, JSONError
from .responses import read_error
from .sse import LineTooLongError, SSEDecoder

__all__ = ["Assembler", "StreamDecoder"]

C = TypeVar("C")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Assembler(Protocol[C, R_co]):
    """Adds chunks up to the type that the non-streaming call returns."""

    def add(self, chunks: list[C], /) -> None: ...

    def response(self) -> R_co | None: ...


_LF, _CR = b"\n\r"
_ODD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for an event that has to be looked at closely."""


class StreamDecoder(Generic[C, R]):
    """Decodes one stream.

    Args:
        decode: decoder of one payload.
        is_chunk: tells a chunk from an event of another kind that decoded all the same
            (unknown fields are skipped, so an error event looks like an empty chunk).
        assembler: collects chunks for the assembled response.
        ends_with_done: False for the model load stream, which has no `[DONE]`.

    `feed` raises nothing for what the server did wrong: it sets `error`, after the chunks that
    came before it. The reader raises it once those have been delivered.
    """

    __slots__ = (
        "_answered",
        "_decode",
        "_ends_with_done",
        "_fast",
        "_halves",
        "_is_chunk",
        "_sse",
        "assembler",
        "done",
        "error",
    )

    def __init__(
        self,
        decode: Decoder[C],
        is_chunk: Callable[[C], Any],
        assembler: Assembler[C, R],
        *,
        ends_with_done: bool = True,
    ) -> None:
        self._decode = decode
        self._fast = decode.fast
        self._halves: Halves = {}
        self._answered = False  # a chunk has come that is one
        self._is_chunk = is_chunk
        self._sse = SSEDecoder()
        self._ends_with_done = ends_with_done
        self.assembler: Assembler[C, R] = assembler
        self.done: bool = False
        self.error: StreamError | None = None

    @property
    def pings(self) -> int:
        """Comments seen so far: signs of life that are no data."""
        return self._sse.comments

    @property
    def max_event(self) -> int:
        """Bytes that one event may have."""
        return self._sse.max_event

    @max_event.setter
    def max_event(self, size: int) -> None:
        self._sse.max_event = size

    def feed(self, data: bytes) -> list[C]:
        """The chunks that `data` completes, in order."""
        sse = self._sse
        if (
            sse.between
            and data[:6] == b"data: "
            and data[-4:] == b"\r\n\r\n"
            and _LF not in (payload := data[6:-4])  # a number is found faster than bytes
            and _CR not in payload
            and payload
            and len(payload) <= sse.max_event
            and not self.done
            and self.error is None
        ):
            try:
                chunk = self._fast(payload)
            except _ODD:
                return self._chunks([payload])
            if not self._is_chunk(chunk):
                return self._chunks([payload])
            self._answered = True
            return [chunk]
        if self.done or self.error is not None:
            return []
        try:
            payloads = sse.feed(data)
        except LineTooLongError as long:
            chunks = self._chunks(long.payloads)
            if not self.done and self.error is None:
                self.error = StreamInterruptedError(
                    f"the server sent an event of more than {self._sse.max_event:,} bytes "
                    "(limits.event); the stream was given up"
                )
            return chunks
        if not payloads:
            return []
        # The common case first: good chunks, and perhaps the end. Where anything is odd,
        # `_chunks` looks at one after another.
        try:
            ended = payloads[-1].startswith(b"[DONE]")
            chunks = [*map(self._fast, payloads[:-1] if ended else payloads)]
        except _ODD:
            return self._chunks(payloads)
        if not all(map(self._is_chunk, chunks)):
            return self._chunks(payloads)
        self._answered = self._answered or bool(chunks)
        if ended:
            self._end()
        return chunks

    def finish(self) -> list[C]:
        """Call at the end of the body: the last chunks, and `error` unless it was a good end."""
        if self.done or self.error is not None:
            return []
        chunks = self._chunks(self._sse.finish(), cut_off=True)
        if not self.done and self.error is None:
            if self._ends_with_done:
                self.error = StreamInterruptedError(
                    "the stream ended without [DONE]: the answer is incomplete. The server may "
                    "have been stopped, or something between here and there cut the connection"
                )
            else:
                self.done = True
        return chunks

    def _chunks(self, payloads: list[bytes], *, cut_off: bool = False) -> list[C]:
        chunks: list[C] = []
        decode, is_chunk = self._decode, self._is_chunk
        for payload in payloads:
            if payload.startswith(b"[DONE]"):
                self._end()
                break
            try:
                chunk = decode(payload, self._halves)
            except JSONError as error:
                if cut_off:  # half an event: the stream was interrupted, and `finish` says so
                    break
                self.error = _error_event(payload) or StreamError(
                    f"the server sent an event that is no chunk ({error}): {_shorten(payload)}"
                )
                break
            if is_chunk(chunk):
                self._answered = True
                chunks.append(chunk)
            else:
                self.error = _error_event(payload)
                if self.error is not None:
                    break
                chunks.append(chunk)
        return chunks

    def _end(self) -> None:
        """Note the `[DONE]`, which is a good end only after an answer."""
        if self._answered:
            self.done = True
        else:
            self.error = StreamInterruptedError(
                "the stream ended with [DONE] before anything of an answer had come. Is this "
                "really a TabbyAPI server?"
            )


def _error_event(payload: bytes) -> StreamError | None:
    """The error that an event reports, None if it reports none."""
    found = read_error(payload)
    if found is None:
        return None
    if found.code == "context_length_exceeded":
        message = found.message or "the context window is full"
        return StreamContextLengthError(message, trace=found.trace)
    reason = "; ".join(found.details) or found.message or _shorten(payload)
    return StreamError(f"the server reported an error in the stream: {reason}", trace=found.trace)


def _shorten(payload: bytes, limit: int = 200) -> str:
    text = payload.decode("utf-8", "replace")
    return text if len(text) <= limit else text[:limit] + "..."
