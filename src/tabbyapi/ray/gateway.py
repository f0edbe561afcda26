"""The gateway: an ASGI application before several TabbyAPI servers, in TabbyAPI's protocol.

A request goes to the server that has its conversation's prompt cache, and to the next one where
that is full. As long as the client has got no data, a request whose server fails is asked again
elsewhere; after that, its stream ends with an error event. Admin requests go to every server.
Keys and bodies are passed on as they come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from .._transport.base import AsyncByteStream, is_event_stream
from ..errors import RequestError
from ..server.errors import ClientGone, HTTPError, error_event, json_answer
from ..server.http.sse import unless_gone
from .affinity import session_key
from .everywhere import ADMIN_PATHS, ask_everywhere
from .pool import Pool, Server, State
from .wire import Answer, head, message_of, outgoing, read_whole, send_answer

__all__ = ["GENERATION_PATHS", "Gateway"]

GENERATION_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_TRIES = 4  # servers that one request is sent to: it may be what breaks them
_FAULTS = frozenset({500, 502, 503, 504})  # say something about the server, not about the request
_NO_DATA = re.compile(rb"(?::[^\r\n]*\r?\n(?:\r?\n)*)*")
_BROKEN = re.compile(rb'(?::[^\r\n]*\r?\n(?:\r?\n)*)*data: ?\{"error"')


class Gateway:
    """ASGI application: one TabbyAPI server to its clients, over those of a pool.

    Args:
        pool: the servers. It is watched from the first request, or from the lifespan's start.
        max_body_bytes: limit of a request's body.
    """

    def __init__(self, pool: Pool, *, max_body_bytes: int = 64 * 1024 * 1024) -> None:
        self.pool = pool
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            self.pool.start()
            try:
                body = await self._body(receive)
                await unless_gone(receive, _Exchange(self.pool, scope, body, send).run())
            except ClientGone:
                pass
            except HTTPError as error:
                await error.answer(parity=False)(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            step = (await receive())["type"]
            if step == "lifespan.startup":
                self.pool.start()
            else:
                await self.pool.close()
            await send({"type": f"{step}.complete"})
            if step == "lifespan.shutdown":
                return

    async def _body(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._max_body_bytes:
                raise HTTPError(413, f"The body is larger than {self._max_body_bytes} bytes.")
            more = message.get("more_body", False)
        return b"".join(pieces)


@dataclass
class _Failure:
    """An answer that another server may better."""

    server: Server
    answer: Answer


class _Exchange:
    """One request and its answer.

    `begun` is True once the head of a stream was sent, `told` once data were: from then on the
    request is not asked again.
    """

    def __init__(self, pool: Pool, scope: Scope, body: bytes, send: Send) -> None:
        self.pool = pool
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query: bytes = scope.get("query_string", b"")
        self.target = self.path + (f"?{query.decode('latin-1')}" if query else "")
        self.headers = outgoing(scope["headers"])
        self.body = body if body or self.method != "GET" else None
        self.send = send
        self.begun = self.told = False

    async def run(self) -> None:
        if self.method == "GET" and self.path == "/health":
            await self._health()
        elif self.method == "POST" and self.path in ADMIN_PATHS:
            servers = list(self.pool.servers.values())
            await ask_everywhere(servers, self.target, self.headers, self.body, self.send)
        else:
            try:
                await self._ask()
            except HTTPError as error:
                if not self.begun:
                    raise
                await self._end(message_of(error.body))

    async def _ask(self) -> None:
        generates = self.path in GENERATION_PATHS
        key = session_key(self.headers, self.body or b"") if generates else b""
        failures: list[_Failure] = []
        passed: list[Server] = []
        for _ in range(_TRIES):
            server = await self.pool.acquire(key, passed)
            if server is None:
                break
            try:
                failure = await self._try(server)
            except RequestError as error:
                self.pool.lose(server, error)
                if self.told:
                    await self._end(f"The server {server.url} was lost: the answer is incomplete.")
                    return
                continue
            finally:
                self.pool.release(server)
            if failure is None:
                for before in failures:
                    if "retry-after" not in before.answer.headers:
                        self.pool.doubt(before.server, f"answered {before.answer.status}")
                server.doubts = 0
                return
            failures.append(failure)
            passed.append(server)
        await self._refuse(failures)

    async def _try(self, server: Server) -> _Failure | None:
        """Ask a server and pass its answer on; None once the client has all of it."""
        stream = await server.open(self.method, self.target, self.headers, self.body)
        try:
            if is_event_stream(stream.status, stream.headers):
                return await self._stream(server, stream)
            answer = await read_whole(stream)
            if answer.status in _FAULTS:
                return _Failure(server, answer)
            if self.begun:
                await self._end(message_of(answer.body))
            else:
                await send_answer(self.send, answer, server.url)
            return None
        finally:
            stream.close()

    async def _stream(self, server: Server, stream: AsyncByteStream) -> _Failure | None:
        while piece := await stream.read():
            if not self.told:
                if _BROKEN.match(piece) and b"context_length_exceeded" not in piece:
                    rest = await read_whole(stream)
                    return _Failure(server, Answer(200, stream.headers, piece + rest.body))
                self.told = not _NO_DATA.fullmatch(piece)
            if not self.begun:
                self.begun = True
                await self.send(head(stream.status, stream.headers, server.url))
            await self._put(piece)
        await self._put(b"", more=False)
        return None

    async def _refuse(self, failures: list[_Failure]) -> None:
        """Pass on the last answer that no server could better."""
        if not failures:
            raise HTTPError(502, "The servers that were asked broke off; the request may be why.")
        last = failures[-1]
        if not self.begun:
            await send_answer(self.send, last.answer, last.server.url)
        else:
            await self._end(message_of(last.answer.body))

    async def _end(self, message: str) -> None:
        """End a stream that has begun with an error event."""
        await self._put(error_event(message, parity=False), more=False)

    async def _put(self, body: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def _health(self) -> None:
        """Healthy as long as one server can be asked; the issues name those that cannot."""
        servers = self.pool.servers.values()
        issues = [
            {"description": f"{server.url}: {server.reason}"}
            for server in servers
            if server.state is not State.UP
        ]
        good = len(issues) < len(servers)
        body = {"status": "healthy" if good else "unhealthy", "issues": issues}
        reply = json_answer(body, 200 if good else 503)
        headers = {"content-type": "application/json"}
        await send_answer(self.send, Answer(reply.status_code, headers, bytes(reply.body)))
