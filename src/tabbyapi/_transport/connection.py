"""The socket of a blocking connection: bytes out and in, each with a deadline.

Theory of operation. One caller at a time uses a connection; only `close` may come from another
thread. It shuts the socket down for reading, which wakes a blocked reader, and closes the
descriptor under the lock that a read holds: a descriptor that is closed while it is read from may
already be another file's.

A long request is watched while it is sent: a server may refuse it early and close the connection.
Sending on would turn its answer into a reset.
"""

from __future__ import annotations

import contextlib
import errno
import select
import selectors
import socket
import threading
import time

__all__ = ["Connection", "left_of"]

_BUFFER = 65_536
_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)  # the last is macOS's word for it
_BLANK = b"\r\n\r\n"


class Connection:
    """A socket, for one exchange after another.

    Args:
        sock: connected.
        waits: what a socket that does not block raises where another would wait.

    Attributes:
        answered: whether any byte of an answer has come, in this exchange.
        cut_short: the server answered, or closed, before the request was sent whole.
        idle_since: the end of the exchange before, by the monotonic clock.
    """

    __slots__ = (
        "_early",
        "_lock",
        "_sock",
        "_timeout",
        "_waits",
        "answered",
        "cut_short",
        "idle_since",
    )

    def __init__(
        self, sock: socket.socket, waits: tuple[type[OSError], ...] = (BlockingIOError,)
    ) -> None:
        self._sock = sock
        self._waits = waits
        self._timeout = sock.gettimeout()
        self._early = b""  # of an answer, received while the request was being sent
        # Re-entrant: a signal handler may close what its own thread is reading.
        self._lock = threading.RLock()
        self.answered = False
        self.cut_short = False
        self.idle_since = 0.0

    def quiet(self) -> bool:
        """Whether nothing has come since the last exchange: no bytes, and no end."""
        if not _readable(self._sock):
            return True
        self._within(0.0)  # it may be TLS's own
        try:
            self._sock.recv(1)
        except self._waits:
            return True
        except OSError:
            return False
        return False

    def send(self, data: bytes, deadline: float | None) -> None:
        """Sends a request, or as much of it as the server wants.

        Raises:
            TimeoutError: the deadline is over.
            OSError: the connection broke, for another reason than the server's leaving.
        """
        self.answered = False
        try:
            if len(data) > _BUFFER:
                self.cut_short = not self._sent_unless_answered(data, deadline)
            else:
                self._within(left_of(deadline))
                self._sock.sendall(data)
        except OSError as error:
            if error.errno not in _LEFT:
                raise
            self.cut_short = True  # it may have said why: the answer is still to be read

    def receive(self, timeout: float | None) -> bytes:
        """The next bytes; b"" at the connection's end.

        Raises:
            TimeoutError: none came for `timeout` seconds.
            OSError: the connection broke, or was closed by another thread.
        """
        if self._early:
            data, self._early = self._early, b""
            return data
        with self._lock:
            self._within(timeout)
            data = self._sock.recv(_BUFFER)
        if data:
            self.answered = True
        return data

    def close(self) -> None:
        """Closes the socket at once. May be called from another thread: a reader wakes."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)
        # A descriptor must not be closed, and perhaps be another file's, while it is read from.
        with self._lock:
            self._sock.close()

    def discard(self) -> None:
        """Closes the socket while it is idle. One of a forked parent stays open there."""
        self._sock.close()

    def _within(self, timeout: float | None) -> None:
        # Setting it is a call of the system.
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout

    def _sent_unless_answered(self, data: bytes, deadline: float | None) -> bool:
        sock, rest = self._sock, memoryview(data)
        self._within(0.0)
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while rest:
                ready = selector.select(left_of(deadline))
                if not ready:
                    raise TimeoutError("timed out")
                (_, events), *_ = ready
                if events & selectors.EVENT_READ and self._refused():
                    return False
                if events & selectors.EVENT_WRITE:
                    with contextlib.suppress(*self._waits):
                        rest = rest[sock.send(rest[:_BUFFER]) :]
        return True

    def _refused(self) -> bool:
        """Whether what has come while sending is more than TLS's own, or `100 Continue`."""
        try:
            data = self._sock.recv(_BUFFER)
        except self._waits:
            return False
        if not data:
            return True
        self.answered = True
        self._early += data
        while self._early[9:10] == b"1" and (end := self._early.find(_BLANK)) >= 0:
            self._early = self._early[end + len(_BLANK) :]
        return self._early[9:10] not in (b"", b"1")


def _readable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows, where select has no largest descriptor
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def left_of(deadline: float | None) -> float | None:
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
