"""One request to the engine and its whole answer, on a new connection.

Every generation asks for its prompt's tokens first, so this is in the way of each first chunk.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from .events import EngineDied

__all__ = ["Exchange"]


class Exchange(asyncio.Protocol):
    """Sends a request. `answer` is a future of its status and body, or raises `EngineDied`."""

    def __init__(self, request: bytes) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    # ------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"it sent what is no HTTP ({error})")

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(str(error) if error else "its answer broke off")

    # ----------------------------------------------------------- what the parser calls

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self.answer.done():
            self.answer.set_result((self._parser.get_status_code(), b"".join(self._body)))

    # --------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(EngineDied(f"the engine stopped ({reason})"))
            self.answer.exception()  # retrieved, or asyncio would warn of it if the caller has left
