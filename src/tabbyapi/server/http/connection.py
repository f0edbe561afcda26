"""The connection's side of HTTP: how long a client may take, and how many may be connected.

Uvicorn parses; what it leaves open is bounded here: heads that never end, sockets that say
nothing, clients that do not read, peers that vanished, too many connections, and too many
requests sent ahead on one. Offers to speak another protocol are passed over, as HTTP has it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial
from http import HTTPStatus
from typing import Any

from httptools import HttpRequestParser
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ..errors import HTTPError, busy
from ..settings import Settings

__all__ = ["OUTGOING", "Outgoing", "protocol"]

OUTGOING = "tabbyapi.outgoing"
"""The extension of the ASGI scope that holds the request's `Outgoing`."""

_MOST_HEAD_BYTES = 64 * 1024
_MOST_HEADERS = 1000  # with those that may follow a body
_MOST_AHEAD = 32  # requests that are sent before the answer to the first
_REFUSED_SECONDS = 2.0  # for the request of a connection beyond the limit
_UPGRADING = (b"upgrade", b"http2-settings")
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, tries


class Outgoing:
    """The body of an answer that has begun, written in HTTP chunks without awaiting `send`.

    A chunk costs its framing and the write.
    """

    __slots__ = ("_cycle", "_flow")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._flow = cycle.flow

    def put(self, piece: bytes) -> bool:
        """Write at once. Returns False if the client reads too slowly: then await `drain`."""
        cycle = self._cycle
        if not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return not self._flow.write_paused

    async def drain(self) -> None:
        """Wait until the client has read on, or has left."""
        if self._flow.write_paused and not self._cycle.disconnected:
            await self._flow.drain()


def protocol(settings: Settings) -> Any:
    """What uvicorn makes a connection's protocol with."""
    return partial(_Protocol, settings=settings)


class _Protocol(HttpToolsProtocol):
    """One connection. Costs a timer per request."""

    def __init__(self, *arguments: Any, settings: Settings, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._settings = settings
        self._in_head = True
        self._head_bytes = 0
        self._unwanted_bytes = 0
        self._received = b""
        self._running: RequestResponseCycle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _watch_peer(transport.get_extra_info("socket"), self._settings.stall_timeout)
        if len(self.connections) > self._settings.max_connections:
            # After its request has come: a client that still writes would see a reset instead.
            self.app = _too_many
            self._refuse_in(_REFUSED_SECONDS, _busy())
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._stall_timer)
        self._tell_it_is_lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:  # the next request of a kept connection
                self._expect_head()
        elif self.cycle.response_complete:
            self._unwanted_bytes += len(data)  # of a body that was answered before its end
            if self._unwanted_bytes > self._settings.max_body_bytes:
                self.transport.abort()
                return
        self._received = data
        super().data_received(data)
        self._received = b""
        if self.headers and len(self.headers) > _MOST_HEADERS:
            self.transport.abort()
            return
        if self._in_head and self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse_head()

    def on_headers_complete(self) -> None:
        # Exactly: what was received may hold the end of another request, and a body.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > _MOST_HEAD_BYTES:
            self._refuse_head()
            raise ConnectionAbortedError  # ends the parsing of what else has been received
        self._in_head = False
        self._unwanted_bytes = 0
        _cancel(self._head_timer)
        self._head_timer = None
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_AHEAD:
            self._tell_it_is_lost()
            self.transport.abort()
            raise ConnectionAbortedError

    def _should_upgrade(self) -> bool:
        """True for requests that `handle_websocket_upgrade` deals with."""
        return self.parser.should_upgrade() and self.scope["method"] != "CONNECT"

    def handle_websocket_upgrade(self) -> None:
        """Take the request for the plain one it is without its offer, and its body for a body."""
        offer = sys.exception()  # the parser's, which holds where it stopped
        assert offer is not None
        rest = self._received[offer.args[0] :]
        method, version = self.scope["method"], self.scope["http_version"]
        head = [method.encode(), b" ", self.url, b" HTTP/", version.encode(), b"\r\n"]
        for name, value in self.headers:
            if name not in _UPGRADING:
                head += [name, b": ", value, b"\r\n"]
        self._received = b"".join([*head, b"\r\n", rest])
        # A new one, which has not been told that the connection closes after the request.
        self.parser = HttpRequestParser(self)
        super().data_received(self._received)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        extensions: dict[str, Any] = {OUTGOING: Outgoing(cycle)}
        cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)

    def _tell_it_is_lost(self) -> None:
        """Uvicorn tells the request that came last, which may still wait for its turn."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def pause_writing(self) -> None:
        super().pause_writing()
        # Closing would wait for the buffer to be read, which is what does not happen.
        self._stall_timer = self.loop.call_later(self._settings.stall_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._stall_timer)
        super().resume_writing()

    def _expect_head(self) -> None:
        seconds = self._settings.head_timeout
        message = f"The request's head did not arrive within {seconds:g} s."
        self._refuse_in(seconds, _hang_up(408, message))

    def _refuse_in(self, seconds: float, refused: HTTPError) -> None:
        self._head_timer = self.loop.call_later(seconds, self._refuse, refused)

    def _refuse_head(self) -> None:
        self._refuse(_hang_up(431, f"The request's head is larger than {_MOST_HEAD_BYTES} bytes."))

    def _refuse(self, refused: HTTPError) -> None:
        """Answer in place of the application, which has not seen the request, and hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            answer = refused.answer(parity=self._settings.parity)
            head = [b"%b: %b\r\n" % header for header in answer.raw_headers]
            first = f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n".encode()
            self.transport.write(b"".join([first, *head, b"\r\n", bytes(answer.body)]))
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _watch_peer(sock: socket.socket, stall: float) -> None:
    """Have the kernel notice a peer that vanished without closing."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = _KEEPALIVE | {"TCP_USER_TIMEOUT": int(stall * 1000)}  # milliseconds
    for name, value in options.items():
        if hasattr(socket, name):  # which of them there are depends on the system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _hang_up(status: int, detail: str) -> HTTPError:
    return HTTPError(status, detail, headers={"connection": "close"})


def _busy() -> HTTPError:
    return busy("too many connections are open", {"connection": "close"})


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    await _busy().answer(parity=True)(scope, receive, send)
