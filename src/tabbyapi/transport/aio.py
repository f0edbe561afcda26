"""Asyncio transport over aiohttp. One session for each event loop; safe from many tasks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp

from ..errors import RequestTimeout
from .base import (
    IDLE_EXPIRY,
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
        try:
            async with asyncio.timeout(limit):
                response = await self._get_session().request(
                    request.method,
                    request.url,
                    data=request.body,
                    headers=request.headers,
                    proxy=self._proxy,
                    allow_redirects=False,
                    # What is read of the body later is timed by its reader.
                    timeout=aiohttp.ClientTimeout(sock_connect=request.timeout.connect),
                )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise cannot_connect(request.url, _reason(error)) from None
        except TimeoutError:
            raise no_answer_in_time(request, limit, "no answer came") from None
        except aiohttp.ServerDisconnectedError as error:
            answered = error.message is not None and not isinstance(error.message, str)
            raise lost_connection(request, "server disconnected", answered=answered) from None
        except aiohttp.ClientOSError as error:
            raise lost_connection(request, _reason(error), answered=False) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise lost_connection(request, _reason(error), answered=True) from None
        return AiohttpStream(request, response)

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
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_EXPIRY),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_BUFFER,
                skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent", "Content-Type"),
            )
        return self._session


class AiohttpStream:
    """The body of an answer. `read` returns whatever is there, as soon as something is."""

    __slots__ = ("_content", "_request", "_response", "headers", "status")

    def __init__(self, request: Request, response: aiohttp.ClientResponse) -> None:
        self._request = request
        self._response = response
        self._content = response.content
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise lost_connection(self._request, _reason(error), answered=True) from None

    async def finish(self) -> None:
        # The end of the body comes right behind [DONE]; nobody should wait for it long.
        if self._content.at_eof():
            return
        try:
            async with asyncio.timeout(0.25):
                if await self._content.readany():
                    self.close()
        except (TimeoutError, aiohttp.ClientError, OSError):
            self.close()

    def close(self) -> None:
        self._response.close()


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
    return str(error) or type(error).__name__
