"""Asyncio transport over aiohttp. One session for each event loop; safe from many tasks."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp

from ..errors import RequestError, RequestTimeout
from .aio_wire import DechunkingHandler
from .base import (
    IDLE_EXPIRY,
    PROBING,
    Answer,
    Request,
    cannot_connect,
    lost_connection,
    no_answer_in_time,
    proxy_for,
    read_body_async,
    smallest,
)

__all__ = ["AiohttpTransport"]

_BUFFER = 2**18
_BROKEN = "its framing is broken"


_used: ContextVar[list[asyncio.Transport] | None] = ContextVar("used", default=None)
"""The sockets that a request has used so far, the last one being the one it is on."""


class _Connector(aiohttp.TCPConnector):
    """Makes connections of ours, and tells which socket a request uses.

    Where a server does not read, closing a connection waits for what is still to be sent, perhaps
    for ever: such a socket must be aborted, and aiohttp gives no other way to it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(DechunkingHandler, loop=self._loop)

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **options)
        used, transport = _used.get(), connection.transport
        if transport is not None:
            _probe_silence(transport)
            if used is not None:
                used.append(transport)
        return connection


def _probe_silence(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        for option in PROBING:
            sock.setsockopt(*option)


class AiohttpTransport:
    """`AsyncTransport` over a session of one's own, or over a given `aiohttp.ClientSession`."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession | None = None) -> None:
        self._given = session
        self._session = session
        self._loop: asyncio.AbstractEventLoop | None = None
        # aiohttp's own reading of the environment would also add logins from ~/.netrc.
        self._proxy = proxy_for(base_url)

    async def send(self, request: Request) -> Answer:
        total = request.timeout.total
        try:
            async with asyncio.timeout(total):
                stream = await self.open(request)
                try:
                    async with asyncio.timeout(request.read_timeout):
                        body = await read_body_async(stream, request)
                except BaseException:
                    stream.close()
                    raise
        except RequestTimeout:
            raise
        except TimeoutError:
            limit = smallest(total, request.read_timeout)
            raise no_answer_in_time(request, limit, "the answer was not complete") from None
        return Answer(stream.status, stream.headers, body)

    async def open(self, request: Request) -> AiohttpStream:
        limit = smallest(request.read_timeout, request.timeout.total)
        used: list[asyncio.Transport] = []
        token = _used.set(used)
        response = None
        try:
            async with asyncio.timeout(limit):
                response = await self._get_session().request(
                    request.method,
                    request.url,
                    data=_payload(request.body),
                    headers=request.headers,
                    proxy=self._proxy,
                    allow_redirects=False,
                    max_line_size=request.limits.header,
                    max_field_size=request.limits.header,
                    # What is read of the body later is timed by its reader.
                    timeout=aiohttp.ClientTimeout(sock_connect=request.timeout.connect),
                )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise cannot_connect(request.url, _reason(error)) from None
        except aiohttp.ClientHttpProxyError as error:
            refused = f"the proxy refused it ({error.status} {_reason(error)})"
            raise cannot_connect(request.url, refused) from None
        except TimeoutError:
            raise no_answer_in_time(request, limit, "no answer came") from None
        except aiohttp.ServerDisconnectedError as error:
            answered = error.message is not None and not isinstance(error.message, str)
            raise lost_connection(request, "server disconnected", answered=answered) from None
        except aiohttp.ClientOSError as error:
            raise lost_connection(request, _reason(error), answered=False) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise lost_connection(request, _reason(error), answered=True) from None
        finally:
            _used.reset(token)
            if response is None and used:
                used[-1].abort()
        return AiohttpStream(request, response, used[-1] if used else None)

    async def close(self) -> None:
        if self._session is not None and self._given is None:
            session, self._session = self._session, None
            await session.close()

    def _get_session(self) -> aiohttp.ClientSession:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            if self._session is not None:
                self._session.detach()  # its loop has ended, and its connections with it
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=0, keepalive_timeout=IDLE_EXPIRY),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_BUFFER,
                skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent", "Content-Type"),
            )
        return self._session


class AiohttpStream:
    """The body of an answer. `read` returns whatever is there, as soon as something is."""

    __slots__ = (
        "_connection_lost",
        "_content",
        "_failed",
        "_left",
        "_request",
        "_response",
        "_told",
        "_transport",
        "headers",
        "status",
    )

    def __init__(
        self,
        request: Request,
        response: aiohttp.ClientResponse,
        transport: asyncio.Transport | None = None,
    ) -> None:
        self._request = request
        self._response = response
        self._content = response.content
        self._failed: RequestError | None = None  # raised once what came before is handed out
        self._left = False
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._connection_lost = partial(_end_without_end, self._content)
        self._told: asyncio.Future[None] | None = None
        self._transport = transport  # None in a session that was handed in
        self._watch(response)
        self._content.on_eof(self._ended)

    async def read(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failed = lost_connection(self._request, _reason(error), answered=True)
        except RuntimeError:
            # The connection is closed, and its reader is not yet told: see _end_without_end.
            if self._told is None or not self._told.done():
                raise
            failed = lost_connection(self._request, _BROKEN, answered=True)
        self._failed = failed
        rest = b"" if self._left else _unread(self._content)
        if not rest:
            raise failed
        return rest

    async def finish(self) -> None:
        # The end of the body comes right behind [DONE]; nobody should wait for it long.
        if self._content.at_eof():
            return
        try:
            async with asyncio.timeout(0.25):
                if await self._content.readany():
                    self.close()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RuntimeError):
            self.close()

    def close(self) -> None:
        self._left = True
        self._unwatch()
        self._response.close()
        self._drop_unsent()

    def _ended(self) -> None:
        self._unwatch()
        self._drop_unsent()

    def _drop_unsent(self) -> None:
        """Drops the connection if the server has answered before it took the whole request."""
        transport, self._transport = self._transport, None
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()

    def _watch(self, response: aiohttp.ClientResponse) -> None:
        """Sees that the reader is told of the connection's end, whatever the reason."""
        connection = response.connection
        protocol = None if connection is None else connection.protocol
        if protocol is None or self._content.is_eof():
            return
        closed = self._told = protocol.closed
        if closed is None:  # already
            self._connection_lost(None)
            return
        # Looked at by somebody, or asyncio logs that nobody did. Once for each connection.
        closed.remove_done_callback(_seen)
        closed.add_done_callback(_seen)
        closed.add_done_callback(self._connection_lost)

    def _unwatch(self) -> None:
        if self._told is not None:
            self._told.remove_done_callback(self._connection_lost)


def _seen(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()


def _end_without_end(content: aiohttp.StreamReader, _: object) -> None:
    """The connection is closed, and the body neither ended nor failed: its framing was broken.

    aiohttp tells the connection of it, but not the reader, who would wait for ever.
    """
    if content.exception() is None and not content.is_eof():
        content.set_exception(aiohttp.ClientPayloadError(_BROKEN))


def _unread(content: aiohttp.StreamReader) -> bytes:
    """What had arrived before the reader failed: it raises its error first, and would keep it."""
    error = content.exception()
    content.set_exception(None)  # type: ignore[arg-type]
    try:
        return content.read_nowait()
    finally:
        if error is not None:
            content.set_exception(error)


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A body as aiohttp wants it: long ones are sent piece by piece, and the loop stays free."""
    return io.BytesIO(body) if body is not None and len(body) > _BUFFER else body


def _reason(error: BaseException) -> str:
    """The cause in a few words."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if "Connect call failed" in text:
            return "connection refused"
        return text[:1].lower() + text[1:]
    if isinstance(error, aiohttp.ClientResponseError):
        return " ".join(error.message.split())[:200]
    return str(error) or type(error).__name__
