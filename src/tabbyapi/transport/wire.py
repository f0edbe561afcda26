"""Blocking connections that keep to a deadline.

http.client bounds each read of a socket, not the whole of a head or of a chunk's frame: a server
that drips could hold a caller for ever. It also loses what had arrived of a chunk when the rest
fails, takes 103 for the answer, and sends a whole body before it looks whether the server has
refused it. These subclasses mend that; they cost one `settimeout` for each read of the socket.
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from .chunked import Dechunker

__all__ = ["Attempt", "PacedConnection", "PacedResponse", "PacedTLSConnection", "Wire", "attempt"]

_BUFFER = 65_536
_BUDGET = 4 * _BUFFER  # received for one piece of a body: its data, twice buffered, and its frame


class Attempt:
    """One try of a request, as its connection must know it.

    Attributes:
        deadline: when the head of the answer must be complete, by the monotonic clock.
        header: bytes that a line of the head may have.
        answered: whether any byte of an answer has come.
    """

    __slots__ = ("answered", "deadline", "header")

    def __init__(self, deadline: float | None, header: int) -> None:
        self.deadline = deadline
        self.header = header
        self.answered = False


attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)
"""The try being made: urllib3 has no other way to tell a connection about it."""


def _left(deadline: float | None) -> float | None:
    """Seconds to a deadline, None if there is none.

    Raises:
        TimeoutError: it is over.
    """
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class Wire(io.RawIOBase):
    """The bytes of an answer, as the socket gives them.

    A failure in the body is kept in `failure` and looks like the body's end: so the layers above
    hand out what had arrived, instead of losing it with the exception. `surplus` tells that more
    came than the answer.
    """

    def __init__(self, sock: socket.socket, trial: Attempt) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._trial = trial
        self._in_body = False
        self._budget = 0
        self._over = False
        self.deadline = trial.deadline
        self.failure: Exception | None = None
        self.surplus = False

    def expect(self, timeout: float | None) -> None:
        """Sets the limits of the next piece of the body: its time, and its size with its frame."""
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._budget = _BUDGET
        self._in_body = True

    def end(self, reader: io.BufferedReader[Any]) -> None:
        """The answer is over: whatever is read from now on does not belong to it."""
        self._over = True  # before `peek`, which must not wait for more
        self.surplus = self.surplus or bool(reader.peek())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._over:
            return 0
        try:
            self._sock.settimeout(_left(self.deadline))
            count = self._raw.readinto(buffer) or 0
            self._budget -= count
            if self._in_body and self._budget < 0:
                raise http.client.LineTooLong("chunk's frame")
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not self._in_body:
                raise
            self.failure = error
            return 0
        if count:
            self._trial.answered = True
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


class _Head:
    """The lines of a head: all of them, and none longer than the limit."""

    def __init__(self, reader: io.BufferedReader[Any], limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._begun = False
        self.close = reader.close

    def readline(self, size: int) -> bytes:
        line = self._reader.readline(min(size, self._limit + 1))
        if len(line) > self._limit:
            raise http.client.LineTooLong(f"header: more than {self._limit:,} bytes")
        # http.client takes the end of the connection for the end of the head.
        if not line.endswith(b"\n") and (line or self._begun):
            raise http.client.HTTPException("its head is cut off")
        self._begun = True
        return line


class PacedResponse(http.client.HTTPResponse):
    """An answer of a `PacedConnection`. Its bytes come over its `wire`."""

    def __init__(self, sock: socket.socket, *args: Any, trial: Attempt, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.wire = Wire(sock, trial)
        self._reader: io.BufferedReader[Any] = io.BufferedReader(self.wire, _BUFFER)
        self.fp = self._reader
        self._limit = trial.header

    def begin(self) -> None:
        reader: Any = self.fp
        self.fp = _Head(reader, self._limit)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:  # it is if there is no body
                self.fp = reader

    def dechunked(self) -> Iterator[bytes]:
        """The body's bytes as they arrive, without their framing; ends early if the wire fails.

        Raises:
            http.client.HTTPException: the framing is broken, or there is no end.
        """
        frames = Dechunker()
        while not frames.done:
            data = self._reader.read1(_BUFFER)
            if not data:
                if self.wire.failure is not None:
                    return
                raise http.client.IncompleteRead(b"")
            piece = frames.feed(data)
            if piece:
                yield piece
            if frames.failure is not None:
                raise http.client.HTTPException(f"its framing is broken: {frames.failure}")
        self.wire.surplus = bool(frames.rest)
        self.close()

    def _close_conn(self) -> None:
        if not self._reader.closed:
            self.wire.end(self._reader)
        super()._close_conn()  # type: ignore[misc]

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 < status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)


class PacedConnection(HTTPConnection):
    """A connection that keeps to the deadline of the `attempt`.

    Attributes:
        answer: the last one.
    """

    answer: PacedResponse | None = None
    _cut_short = False  # the server answered before the request was sent whole

    @property
    def spoiled(self) -> bool:
        """Whether a further request on it would be misread, or get an answer that is not its."""
        if self._cut_short or self.answer is None:
            return self._cut_short
        wire = self.answer.wire
        return wire.surplus or wire.failure is not None

    def connect(self) -> None:
        self.answer = None
        self._cut_short = False
        super().connect()

    def send(self, data: Any) -> None:
        trial = attempt.get()
        if trial is None:
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        sock = self.sock
        # TLS has messages of its own to read, which would look like an answer.
        if isinstance(data, bytes) and len(data) > _BUFFER and not isinstance(sock, ssl.SSLSocket):
            self._cut_short = not _sent_unless_answered(sock, data, trial)
        else:
            sock.settimeout(_left(trial.deadline))
            super().send(data)

    def getresponse(self) -> Any:
        trial = attempt.get()
        if trial is None:
            return super().getresponse()
        made: list[PacedResponse] = []

        def response_class(*args: Any, **options: Any) -> PacedResponse:
            made.append(PacedResponse(*args, trial=trial, **options))
            return made[0]

        # Not for good: a proxy's answer to CONNECT is read with the class too.
        self.response_class = response_class  # type: ignore[assignment]
        try:
            response = super().getresponse()
        except BaseException:
            for answer in made:  # a head that urllib3 cannot read leaves it open
                answer.close()
            raise
        finally:
            del self.response_class
        self.answer = made[0]
        return response


class PacedTLSConnection(PacedConnection, HTTPSConnection):
    pass


def _sent_unless_answered(sock: socket.socket, data: bytes, trial: Attempt) -> bool:
    """Sends a long body; stops, and returns False, when the server answers before its end."""
    rest = memoryview(data)
    sock.settimeout(0)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while rest:
            ready = selector.select(_left(trial.deadline))
            if not ready:
                raise TimeoutError("timed out")
            (_, events), *_ = ready
            if events & selectors.EVENT_READ:
                if not _interim(sock):
                    return False
                selector.modify(sock, selectors.EVENT_WRITE)
            elif events & selectors.EVENT_WRITE:
                try:
                    rest = rest[sock.send(rest[:_BUFFER]) :]
                except BlockingIOError:
                    continue
    return True


def _interim(sock: socket.socket) -> bool:
    """Whether what has come is (as far as can be told) no answer yet, like `100 Continue`."""
    try:
        start = sock.recv(16, socket.MSG_PEEK)
    except OSError:
        return False
    return bool(start) and (len(start) < 10 or start[9:10] == b"1")
