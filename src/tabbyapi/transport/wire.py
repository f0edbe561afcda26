"""The socket of a blocking connection: bytes out and in, each with a time by which it must be done.

A long request is watched while it is sent: a server may refuse it before it has taken it whole,
and close. Whoever goes on sending then loses the answer to a reset.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import threading
import time

__all__ = ["Wire"]

_BUFFER = 65_536
_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)  # the last is macOS's word for it
_BLANK = b"\r\n\r\n"
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """One exchange on a socket.

    Attributes:
        answered: whether any byte of an answer has come.
        cut_short: the server answered, or closed, before the request was sent whole.
    """

    __slots__ = ("_deadline", "_early", "_lock", "_sock", "_timeout", "answered", "cut_short")

    def __init__(self, sock: socket.socket, deadline: float | None) -> None:
        self._sock = sock
        self._deadline = deadline
        self._timeout = sock.gettimeout()
        self._early = b""  # of an answer, received while the request was being sent
        # Re-entrant: a signal handler may close what its own thread is reading.
        self._lock = threading.RLock()
        self.answered = False
        self.cut_short = False

    def send(self, data: bytes) -> None:
        """Sends a request, or as much of it as the server wants.

        Raises:
            TimeoutError: the deadline is over.
            OSError: the connection broke, for another reason than the server's leaving.
        """
        try:
            if len(data) > _BUFFER:
                self.cut_short = not self._sent_unless_answered(data)
            else:
                self._within(_left(self._deadline))
                self._sock.sendall(data)
        except OSError as error:
            if error.errno not in _LEFT:
                raise
            self.cut_short = True  # it may have said why: the answer is still to be read

    def receive(self) -> bytes:
        """The next bytes; b"" at the connection's end.

        Raises:
            TimeoutError: the deadline is over.
            OSError: the connection broke, or was closed by another thread.
        """
        if self._early:
            data, self._early = self._early, b""
            return data
        with self._lock:
            self._within(_left(self._deadline))
            data = self._sock.recv(_BUFFER)
        if data:
            self.answered = True
        return data

    def expect(self, timeout: float | None) -> None:
        """Gives what is received next this many seconds; None = any."""
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def close(self) -> None:
        """Closes the socket at once. May be called from another thread: a reader wakes."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)
        # A descriptor must not be closed, and perhaps be another file's, while it is read from.
        with self._lock:
            self._sock.close()

    def _within(self, timeout: float | None) -> None:
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout

    def _sent_unless_answered(self, data: bytes) -> bool:
        sock, rest = self._sock, memoryview(data)
        self._within(0.0)
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while rest:
                ready = selector.select(_left(self._deadline))
                if not ready:
                    raise TimeoutError("timed out")
                (_, events), *_ = ready
                if events & selectors.EVENT_READ and self._refused():
                    return False
                if events & selectors.EVENT_WRITE:
                    with contextlib.suppress(*_WAIT):
                        rest = rest[sock.send(rest[:_BUFFER]) :]
        return True

    def _refused(self) -> bool:
        """Whether what has come while sending is more than TLS's own, or `100 Continue`."""
        try:
            data = self._sock.recv(_BUFFER)
        except _WAIT:
            return False
        if not data:
            return True
        self.answered = True
        self._early += data
        while self._early[9:10] == b"1" and (end := self._early.find(_BLANK)) >= 0:
            self._early = self._early[end + len(_BLANK) :]
        return self._early[9:10] not in (b"", b"1")


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
