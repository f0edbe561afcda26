"""Servers that do with a connection whatever a test says, and a proxy that spoils what it passes.

def refuse(peer: Peer) -> None:
    peer.head()
    peer.send(b"HTTP/1.1 413 Too Large\\r\\n...")

with ScriptedServer(refuse) as server: ...

with ReplayServer(reply) as real, FaultProxy(real.url, cut_after=200) as proxy: ...
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

__all__ = ["FaultProxy", "Peer", "ScriptedServer"]


class Peer:
    """A client's connection, as the script sees it."""

    def __init__(self, sock: socket.socket, number: int, stop: threading.Event) -> None:
        self.sock = sock
        self.number = number
        """Which connection it is, counted from 0."""
        self.stop = stop
        """Set when the test is over."""
        self._read = b""

    def head(self) -> bytes:
        """The head of the next request, b"" if the client has gone."""
        while b"\r\n\r\n" not in self._read:
            data = self._receive()
            if not data:
                return b""
            self._read += data
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return head

    def request(self) -> bytes:
        """The next request, head and body; b"" if the client has gone."""
        head = self.head()
        return head + b"\r\n\r\n" + self.body(head) if head else b""

    def body(self, head: bytes) -> bytes:
        """The body that follows this head; b"" if the client has gone."""
        lines = [line.lower() for line in head.split(b"\r\n")]
        (size,) = [int(x[15:]) for x in lines if x.startswith(b"content-length:")] or [0]
        while len(self._read) < size:
            data = self._receive()
            if not data:
                return b""
            self._read += data
        body, self._read = self._read[:size], self._read[size:]
        return body

    def send(self, data: bytes) -> None:
        """Waits as long as it must for the client to take it."""
        rest = memoryview(data)
        while rest and not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                rest = rest[self.sock.send(rest) :]

    def drip(self, data: bytes, pause: float = 0.02) -> None:
        """Byte by byte, again and again, until the client leaves or the test is over."""
        while not self.stop.is_set():
            for i in range(len(data)):
                self.send(data[i : i + 1])
                if self.stop.wait(pause):
                    return

    def flood(self, data: bytes) -> None:
        """As fast as the client takes it, until it leaves or the test is over."""
        while not self.stop.is_set():
            self.send(data)

    def hang(self) -> None:
        """Silence, until the client leaves or the test is over."""
        with contextlib.suppress(OSError):
            while self._receive():
                pass

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _receive(self) -> bytes:
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                return self.sock.recv(65536)
        return b""


class ScriptedServer:
    """Runs `script` for each connection, in a thread of its own; `left` is set when a client went.

    What a script raises, beyond errors of its socket, is raised when the server is left.
    """

    def __init__(
        self, script: Callable[[Peer], None], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = script
        self._tls = tls
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.connections = 0
        self.left = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a script does not end"
        if self._failures and error is None:
            raise self._failures[0]

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="scripted server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while not self._stop.is_set():
                try:
                    sock, _ = self._listener.accept()
                except TimeoutError:
                    continue
                self._start(self._serve, sock, self.connections)
                self.connections += 1

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            with sock:
                sock.settimeout(5)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                with sock:
                    sock.settimeout(0.05)
                    self.script(Peer(sock, number, self._stop))
        except OSError:
            self.left.set()
        except BaseException as failure:
            self._failures.append(failure)


@dataclass
class FaultProxy:
    """Passes connections on to `target`, and spoils what comes back.

    Attributes:
        delay: seconds before anything comes back.
        split: sends at most so many bytes at a time.
        cut_after, reset_after, stall_after: bytes after which the connection is closed, reset,
            or falls silent.
        corrupt_at: the byte at this place is turned over.
        duplicate: everything that comes back is sent twice, piece by piece.
    """

    target: str
    delay: float = 0.0
    split: int | None = None
    cut_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    corrupt_at: int | None = None
    duplicate: bool = False

    def __enter__(self) -> ScriptedServer:
        self._server = ScriptedServer(self._pass_on)
        return self._server.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def _pass_on(self, peer: Peer) -> None:
        parts = urlsplit(self.target)
        assert parts.hostname
        while request := peer.request():
            with socket.create_connection((parts.hostname, parts.port or 80), 5) as behind:
                # One request for each connection behind: where its answer ends is then plain.
                behind.sendall(_closing(request))
                time.sleep(self.delay)
                if not self._spoil(peer, behind):
                    return

    def _spoil(self, peer: Peer, behind: socket.socket) -> bool:
        """Passes one answer on; False if the connection is over with it."""
        passed = 0
        limits = [n for n in (self.cut_after, self.reset_after, self.stall_after) if n is not None]
        limit = min(limits, default=None)
        behind.settimeout(0.1)
        while not peer.stop.is_set():
            try:
                data = behind.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return False
            at = None if self.corrupt_at is None else self.corrupt_at - passed
            if at is not None and 0 <= at < len(data):
                data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            if limit is not None:
                data = data[: limit - passed]
            passed += len(data)
            step = self.split or len(data)
            for start in range(0, len(data), step or 1):
                for _ in range(2 if self.duplicate else 1):
                    peer.send(data[start : start + step])
            if passed == limit:
                if self.reset_after is not None:
                    peer.reset()
                if self.stall_after is not None:
                    peer.hang()
                return False
        return False


def _closing(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [x for x in head.split(b"\r\n") if not x.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"connection: close"]) + b"\r\n\r\n" + body
