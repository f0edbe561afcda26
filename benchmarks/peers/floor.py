"""The floor: a blocking socket whose bytes are only counted. No client can cost less in Python."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from . import MESSAGES, body

__all__ = ["Sync"]

_READ = 2**18
_MARK = b'"delta"'


class Sync:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def _send(self, fields: dict[str, Any]) -> None:
        content = json.dumps(fields).encode()
        self._socket.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(content), content))

    @contextmanager
    def stream(self, count: int) -> Iterator[Any]:
        self._send(body(MESSAGES, count))
        yield self._events()

    def _events(self) -> Iterator[None]:
        data = b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            # A mark may lie over two reads; what is kept of the first holds no whole one.
            data = data[1 - len(_MARK) :] + self._socket.recv(_READ)
            for _ in range(data.count(_MARK)):
                yield None

    def request(self, messages: list[Any]) -> Any:
        self._send(body(messages))
        return self._socket.recv(_READ)

    def text(self, chunk: Any) -> str:
        raise NotImplementedError("the floor does not read texts")

    def close(self) -> None:
        self._socket.close()
