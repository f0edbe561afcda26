"""Asyncio transport over aiohttp: through a proxy, or over a session that is handed in."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Mapping
from functools import partial

import aiohttp
from aiohappyeyeballs import AddrInfoType

from ..errors import RequestError, RequestTimeout
from .base import IDLE_EXPIRY, PROBING, read_body_async, smallest
from .errors import cannot_connect, lost_connection, no_answer_in_time, words
from .request import Answer, Request

__all__ = ["AsyncManagedTransport"]

_BUFFER = 2**18
_BROKEN = "its framing is broken"


class AsyncManagedTransport:
    """`AsyncTransport` over a given `aiohttp.ClientSession`, or through a proxy over one's own.

    Where a server does not read, closing a connection waits for what is still to be sent.
    """

    def __init__(
        self, session: aiohttp.ClientSession | None = None, *, proxy: str | None = None
    ) -> None:
        self._given = session
        self._session = session
        self._loop: asyncio.AbstractEventLoop | None = None
        # aiohttp's own reading of the environment would also add logins from ~/.netrc.
        self._proxy = proxy

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

    async def open(self, request: Request) -> AsyncManagedStream:
        limit = smallest(request.read_timeout, request.timeout.total)
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
        return AsyncManagedStream(request, response)

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
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=IDLE_EXPIRY, socket_factory=_probed
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_BUFFER,
                skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent", "Content-Type"),
            )
        return self._session


class AsyncManagedStream:
    """The body of an answer. `read` returns whatever is there, as soon as something is."""

    __slots__ = (
        "_connection_lost",
        "_content",
        "_failed",
        "_left",
        "_request",
        "_response",
        "_told",
        "headers",
        "status",
    )

    def __init__(self, request: Request, response: aiohttp.ClientResponse) -> None:
        self._request = request
        self._response = response
        self._content = response.content
        self._failed: RequestError | None = None  # raised once what came before is handed out
        self._left = False
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._connection_lost = partial(_end_without_end, self._content)
        self._told: asyncio.Future[None] | None = None
        self._watch(response)
        self._content.on_eof(self._unwatch)

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
        return words(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return " ".join(error.message.split())[:200]
    return words(error)


def _probed(info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    sock = socket.socket(family, kind, protocol)
    for option in PROBING:
        sock.setsockopt(*option)
    return sock
