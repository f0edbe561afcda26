"""Tools of MCP servers for `chat.run` and conversations. Needs the extra `mcp`.

    with tabbyapi.mcp.connect("uvx mcp-server-time") as clock:
        print(client.chat.run([user("What time is it in Oslo?")], tools=[clock]).text)

    async with tabbyapi.mcp.connect("http://localhost:8000/mcp") as search: ...

States of a connection: new, open, closed. All connections live in one event loop in a daemon
thread, started with the first of them: so the sync client can use them, and any number of event
loops. A connection is entered and left by one task of that loop (`_serve`), which ends when
`_stop` is set; everything else hands coroutines to the loop and waits for them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import shlex
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, cast
from weakref import WeakSet

import msgspec

from ._version import __version__
from .errors import ConnectError, ValidationError
from .tools.describe import Tool, ToolSet
from .tools.values import Content
from .types import ChatImageURL, ChatMessageContent

if TYPE_CHECKING:
    import mcp

__all__ = ["MCPServer", "MCPToolError", "ServerLike", "connect"]

T = TypeVar("T")

ServerLike: TypeAlias = "str | Mapping[str, Any] | Any"
"""A command line, an http(s) URL, an entry of an `mcpServers` file, or what `mcp.Client` takes."""

_STDERR_SHOWN = 2000  # characters of a failed server's standard error


class MCPToolError(RuntimeError):
    """A call that an MCP server answered with an error. The model is told its text."""


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


def connect(
    server: ServerLike,
    *,
    name: str | None = None,
    timeout: float = 60.0,
    call_timeout: float | None = 120.0,
) -> MCPServer:
    """Connect to an MCP server, whose tools can then be given in `tools=[...]`.

    The connection opens with `with`, `async with`, `await` or `open()`. Several servers can be
    used at once: a tool whose name another tool has is called `{server}_{tool}`.

    Args:
        server: a command line (`"uvx mcp-server-time"`), started as a child process; an http(s)
            URL (streamable HTTP); or an entry of an `mcpServers` file: `{"command": ..., "args":
            [...], "env": {...}, "cwd": ...}` or `{"url": ..., "headers": {...}, "type": "http" or
            "sse"}`. A child process gets few environment variables (PATH, HOME, ...) and `env`.
        name: of the server, for names of tools. Default: what the server calls itself.
        timeout: seconds for connecting.
        call_timeout: seconds for a call; the model is told of one that took longer. None: no
            limit.

    Raises:
        ValidationError: `server` is none of these, or the package `mcp` is not installed.
    """
    return MCPServer(server, name=name, timeout=timeout, call_timeout=call_timeout)


class MCPServer(ToolSet):
    """A connection to an MCP server; see `connect`.

    Attributes:
        name: name of the server.
        tools: its tools, once the connection is open.
    """

    name: str
    tools: list[Tool]

    def __init__(
        self, server: ServerLike, *, name: str | None, timeout: float, call_timeout: float | None
    ) -> None:
        super().__init__(name or "", [])
        self._transport = _transport_of(server)
        self._what = server if isinstance(server, str) else name or "the given server"
        self._timeout = timeout
        self._call_timeout = call_timeout
        self._state = _State.NEW
        self._client: mcp.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._task: Future[None] | None = None
        self._stderr = ""

    def open(self) -> Self:
        """Connect, and list the server's tools. Does nothing if that was done.

        Raises:
            ConnectError: the server cannot be started or reached, or is no MCP server.
            ValidationError: the connection was closed.
        """
        ready = self._begin()
        if ready is not None:
            try:
                ready.result()
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """Disconnect, and end the server if it was started here. May be called again."""
        task = self._end()
        if task is not None:
            # The server gets 2 seconds to end by itself, and is killed after 2 more.
            with contextlib.suppress(FutureTimeout):
                task.result(10)

    async def aclose(self) -> None:
        """As `close`, for asyncio."""
        task = self._end()
        if task is not None:
            await asyncio.wrap_future(task)

    async def _open_async(self) -> Self:
        ready = self._begin()
        if ready is not None:
            try:
                await asyncio.wrap_future(ready)
            except BaseException:
                await self.aclose()
                raise
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open_async().__await__()

    async def __aenter__(self) -> Self:
        return await self._open_async()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r}: {self._state.value}, {len(self.tools)} tools>"
        )

    # ---------------------------------------------------------------- in the background loop

    def _begin(self) -> Future[None] | None:
        """Start connecting; the future returned is done when that has ended."""
        if self._state is _State.OPEN:
            return None
        if self._state is _State.CLOSED:
            raise ValidationError("this connection was closed: connect again", field="tools")
        self._state = _State.OPEN
        self._loop = _background_loop()
        ready: Future[None] = Future()
        self._stop = asyncio.Event()
        self._task = asyncio.run_coroutine_threadsafe(self._serve(ready, self._stop), self._loop)
        _open.add(self)
        return ready

    def _end(self) -> Future[None] | None:
        """Ask the connection to end; the future returned is done when it has."""
        self._state = _State.CLOSED
        _open.discard(self)
        if self._loop is None or self._stop is None:
            return None
        self._loop.call_soon_threadsafe(self._stop.set)
        return self._task

    async def _serve(self, ready: Future[None], stop: asyncio.Event) -> None:
        """Hold the connection open until `stop` is set."""
        import mcp

        info = mcp.Implementation(name="py-tabbyapi", version=__version__)
        opening = asyncio.timeout(self._timeout)
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with opening:
                    transport = await stack.enter_async_context(self._stderr_kept())
                    client = mcp.Client(transport, client_info=info)
                    self._client = await stack.enter_async_context(client)
                    server = client.server_info
                    self.name = self.name or (server.name if server is not None else "mcp")
                    self.tools = await self._list_tools(client)
                ready.set_result(None)
                await stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(self._no_connection(error, opening.expired()))

    @contextlib.asynccontextmanager
    async def _stderr_kept(self) -> AsyncIterator[Any]:
        """The transport, with a child's standard error in a file: the reason if it fails."""
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        if not isinstance(self._transport, StdioServerParameters):
            yield self._transport() if callable(self._transport) else self._transport
            return
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
            try:
                yield stdio_client(self._transport, errlog=file)
            finally:
                file.seek(0)
                self._stderr = file.read()[-_STDERR_SHOWN:].strip()

    async def _list_tools(self, client: mcp.Client) -> list[Tool]:
        tools: list[Tool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [self._tool(each) for each in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return tools

    def _tool(self, listed: Any) -> Tool:
        async def call(**arguments: Any) -> Any:
            return await self._call(listed.name, arguments)

        name = re.sub(r"[^A-Za-z0-9_-]", "_", listed.name)[:64]
        description = listed.description or listed.title or ""
        return Tool.from_schema(name, description, listed.input_schema, call)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Make a call in the background loop. Cancelling it cancels the call on the server."""
        if self._client is None or self._loop is None or self._state is not _State.OPEN:
            raise MCPToolError(f"the MCP server {self.name} is not connected")
        calling = self._client.call_tool(name, arguments, self._call_timeout)
        future = asyncio.run_coroutine_threadsafe(_as_coroutine(calling), self._loop)
        result = await asyncio.wrap_future(future)
        content = _content_of(result)
        if result.is_error:
            parts = [content] if isinstance(content, str) else content
            raise MCPToolError("\n".join(part for part in parts if isinstance(part, str)))
        return content

    def _no_connection(self, error: BaseException, late: bool) -> BaseException:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ValidationError):
            return error
        reason = f"no answer within {self._timeout:g} s" if late else f"{error}".rstrip(".")
        if isinstance(error, FileNotFoundError):
            reason = f"there is no command {error.filename or self._what!r}"
        said = f". It wrote:\n{self._stderr}" if self._stderr else ""
        return ConnectError(f"no connection to the MCP server {self._what}: {reason}{said}")


async def _as_coroutine(call: Coroutine[Any, Any, T]) -> T:
    return await call


def _transport_of(server: ServerLike) -> Any:
    """What `mcp.Client` takes, or a function that makes it."""
    try:
        from mcp import StdioServerParameters
    except ImportError as error:
        raise ValidationError(
            "MCP servers need the package mcp: pip install 'py-tabbyapi[mcp]'", field="server"
        ) from error
    if isinstance(server, str):
        if server.startswith(("http://", "https://")):
            return server
        words = shlex.split(server, posix=os.name == "posix")
        if not words:
            raise ValidationError("the command of the MCP server is empty", field="server")
        return StdioServerParameters(command=words[0], args=words[1:])
    if not isinstance(server, Mapping):
        return server
    if isinstance(server.get("url"), str):
        return lambda: _http_transport(server)
    if isinstance(command := server.get("command"), str):
        env, cwd = server.get("env"), server.get("cwd")
        try:
            return StdioServerParameters(
                command=command,
                args=[str(each) for each in server.get("args") or ()],
                env=dict(env) if env else None,
                cwd=Path(cwd) if cwd else None,
            )
        except ValueError as error:
            raise ValidationError(f"the MCP server {command}: {error}", field="server") from None
    raise ValidationError(
        'an MCP server is given as {"command": ..., "args": [...]} or {"url": ...}',
        field="server",
    )


@contextlib.asynccontextmanager
async def _http_transport(server: Mapping[str, Any]) -> AsyncIterator[Any]:
    import httpx2

    url, headers = server["url"], dict(server.get("headers") or {})
    if server.get("type") == "sse":
        from mcp.client.sse import sse_client

        async with sse_client(url, headers=headers) as streams:
            yield streams
        return
    from mcp.client.streamable_http import streamable_http_client

    limits = httpx2.Timeout(30.0, read=300.0)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=limits) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


# -------------------------------------------------------------------------------- results


def _content_of(result: Any) -> Content:
    """A result as text and images. What a model cannot take is described."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    if all(isinstance(part, str) for part in parts):
        return "\n".join(cast("list[str]", parts))
    return parts


def _part(block: Any) -> ChatMessageContent | str:
    if block.type == "text":
        text: str = block.text
        return text
    if block.type == "image":
        return _image(block.mime_type, block.data)
    if block.type == "resource":
        resource = block.resource
        if getattr(resource, "text", None) is not None:
            return str(resource.text)
        if (resource.mime_type or "").startswith("image/"):
            return _image(resource.mime_type, resource.blob)
        return f"[resource {resource.uri}, {resource.mime_type or 'of unknown type'}]"
    if block.type == "resource_link":
        return f"[resource {block.name}: {block.uri}]"
    return f"[{block.type} content, left out]"


def _image(mime_type: str, data: str) -> ChatMessageContent:
    url = f"data:{mime_type};base64,{data}"
    return ChatMessageContent(type="image_url", image_url=ChatImageURL(url))


# ----------------------------------------------------------------------- the background loop

_lock = threading.Lock()
_background: tuple[int, asyncio.AbstractEventLoop] | None = None
_open: WeakSet[MCPServer] = WeakSet()


def _background_loop() -> asyncio.AbstractEventLoop:
    """The loop of all connections; a forked process gets its own."""
    global _background
    with _lock:
        if _background is None or _background[0] != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="tabbyapi mcp", daemon=True).start()
            _background = os.getpid(), loop
            atexit.register(_close_all, os.getpid())
        return _background[1]


def _close_all(pid: int) -> None:
    """End the servers that were started here, when the program ends."""
    if pid == os.getpid():
        for ending in [server._end() for server in list(_open)]:
            if ending is not None:
                with contextlib.suppress(FutureTimeout):
                    ending.result(10)
