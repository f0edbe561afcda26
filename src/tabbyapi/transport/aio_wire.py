"""Asyncio connections that take the framing of chunks off a whole read at a time.

aiohttp's parser hands on each chunk by itself, at more than the cost of decoding the event in it.
Here it parses the head, and is told of the body's end; what lies between does not pass through it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.client_proto import ResponseHandler

from .chunked import Dechunker

__all__ = ["DechunkingHandler"]

_HEAD_END = b"\r\n\r\n"


class DechunkingHandler(ResponseHandler):
    """A connection. Where anything is unusual, all is left to aiohttp's parser."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._frames: Dechunker | None = None  # of the body being read
        self._seen = b""  # the last bytes of an unfinished head
        self._heads = 0  # read whole
        self._chunked = False  # whether the last of them announced chunks

    def feed_data(self, data: Any, size: int = 0) -> None:
        self._heads += 1
        self._chunked = data[0].chunked
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if self._frames is not None:
            self._body(self._frames, data)
            return
        payload = self._payload
        if self._parser is None or self._upgraded or (payload and not payload.is_eof()):
            super().data_received(data)
            return
        seen = self._seen
        end = (seen + data[:3]).find(_HEAD_END) if seen else -1
        end = data.find(_HEAD_END) if end < 0 else end - len(seen)
        if end < 0:
            self._seen = (seen + data)[-3:]
            super().data_received(data)
            return
        self._seen = b""
        heads, cut = self._heads, end + len(_HEAD_END)
        super().data_received(data[:cut])
        payload = self._payload
        # A head may also end with bare line feeds: then this was not its end.
        if (
            self._heads == heads + 1
            and self._chunked
            and payload is not None
            and not payload.total_bytes
            and not payload.is_eof()
        ):
            self._frames = Dechunker()
            payload.begin_http_chunk_receiving()  # only then it may end with a chunk
        if cut < len(data):
            self.data_received(data[cut:])

    def _body(self, frames: Dechunker, data: bytes) -> None:
        piece = frames.feed(data)
        payload = self._payload
        if payload is None:  # closed meanwhile
            return
        if piece:
            payload.feed_data(piece)
        if frames.failure is not None:
            self._frames = None
            super().data_received(b"?\r\n")  # which is no chunk to the parser either
        elif frames.done:
            self._frames = None
            super().data_received(b"0\r\n\r\n" + frames.rest)
