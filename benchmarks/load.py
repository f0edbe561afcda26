"""The load of the local server's measurement: `python -m benchmarks.load JOB`, a process each.

It reads raw bytes and counts a mark in them, the same way from the local server and from the
engine's own listener, so that what is read with weighs the same on both sides. JOB is JSON:

- `address`: a path of a unix socket, or host and port; `request`: what is sent, as latin-1.
- `mark`: what is counted: it stands once in each chunk.
- `what`: "rate" times `streams` streams to their ends; "leave" closes one after `marks` marks, or
  in the middle of the prompt where that is 0, and times how long the engine at `engine` works on;
  "hold" opens `streams`, says when all have been answered and `running` of them have chunks, and
  closes them with its stdin.

Prints its figures as one line of JSON.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from typing import Any

__all__ = ["main"]

_READ = 1 << 18
_BUSY = b'"is_processing":true'
_LATER = 0.3  # seconds after the beginning of a prompt its client leaves
_PATIENCE = 60.0  # seconds without a byte, after which something is wrong


def _connect(address: str | list[Any]) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(address)
        return sock
    sock = socket.create_connection((address[0], address[1]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Stream:
    """One request, and what has come of its answer. `keep` keeps the bytes."""

    def __init__(self, job: dict[str, Any], *, keep: bool = False) -> None:
        self.mark = job["mark"].encode()
        self.seen = 0
        self.first = 0.0
        self.body = b""
        self._keep = keep
        self._head = self._tail = b""
        self.started = time.perf_counter()
        self.socket = _connect(job["address"])
        self.socket.sendall(job["request"].encode("latin-1"))

    def read(self) -> bool:
        """Take what has come; False at the end."""
        data = self.socket.recv(_READ)
        if not data:
            return False
        if len(self._head) < 12:
            self._head += data[:12]
        data = self._tail + data
        found = data.count(self.mark)
        if found and not self.seen:
            self.first = time.perf_counter() - self.started
        self.seen += found
        self._tail = data[1 - len(self.mark) :]  # where a mark may begin
        if self._keep:
            self.body += data if not self.body else data[len(self.mark) - 1 :]
        return True

    @property
    def opened(self) -> bool:
        """Whether the answer has begun, if only with its head."""
        return bool(self._head)

    def close(self) -> None:
        if self._head and not self._head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the answer began with {self._head!r}")
        self.socket.close()


def _rate(job: dict[str, Any]) -> dict[str, Any]:
    """All streams to their ends."""
    selector = selectors.DefaultSelector()
    keep = job.get("keep", False)
    cpu, started = time.process_time(), time.perf_counter()
    streams = [_Stream(job, keep=keep) for _ in range(job["streams"])]
    for stream in streams:
        selector.register(stream.socket, selectors.EVENT_READ, stream)
    left = len(streams)
    while left:
        ready = selector.select(_PATIENCE)
        if not ready:
            raise RuntimeError(f"{left} streams have stopped")
        for key, _ in ready:
            if not key.data.read():
                selector.unregister(key.fileobj)
                key.data.close()
                left -= 1
    took = time.perf_counter() - started
    return {
        "chunks": sum(stream.seen for stream in streams),
        "seconds": took,
        "first_ms": statistics.median(stream.first for stream in streams) * 1e3,
        "load_cpu": time.process_time() - cpu,
        "bodies": [stream.body.decode(errors="replace") for stream in streams] if keep else [],
    }


def _busy(engine: str) -> bool:
    """Whether a slot of the engine is at work, as the loop that computes reports."""
    with _connect(engine) as sock:
        sock.sendall(b"GET /slots HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(_READ):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the engine does not tell of its slots: {answer[:200]!r}")
    return _BUSY in answer


def _leave(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds from closing a stream to a free slot."""
    stream = _Stream(job)
    while not _busy(job["engine"]):
        pass
    if not job["marks"]:
        time.sleep(_LATER)
    while stream.seen < job["marks"]:
        if not stream.read():
            raise RuntimeError("the stream ended before it was left")
    if not _busy(job["engine"]):
        raise RuntimeError("the stream ended before it was left")
    left = time.perf_counter()
    stream.close()
    while _busy(job["engine"]):
        time.sleep(0.001)
    return {"seconds": time.perf_counter() - left}


def _hold(job: dict[str, Any]) -> dict[str, Any]:
    """Streams that stay open, and are read, until stdin closes."""
    selector = selectors.DefaultSelector()
    streams = [_Stream(job) for _ in range(job["streams"])]
    for stream in streams:
        selector.register(stream.socket, selectors.EVENT_READ, stream)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    told, wanted = False, job["running"]
    while True:
        for key, _ in selector.select(_PATIENCE):
            if key.data is None:
                for stream in streams:
                    stream.close()
                return {}
            if not key.data.read():
                raise RuntimeError("a stream that was to stay open has ended")
        begun = sum(stream.seen >= 3 for stream in streams)
        if not told and begun >= wanted and all(stream.opened for stream in streams):
            told = True
            print("ready", flush=True)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Carry out a job."""
    return {"rate": _rate, "leave": _leave, "hold": _hold}[job["what"]](job)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
