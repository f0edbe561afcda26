"""The page's process: routes, NiceGUI, and the HTTP server. One process, one server to talk to.

`run` blocks until the page is stopped. NiceGUI keeps its pages in this process, so there is one
worker; conversations are on disk.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from ..cli import sessions
from ..errors import TabbyError
from .chat_page import show_chat
from .chats import Chats
from .library import as_json, file_name
from .messages import image_of
from .security import Guard
from .server_page import show_server
from .status import ServerStatus
from .words import sentence

if TYPE_CHECKING:
    from .._client.aio import AsyncClient

__all__ = ["PageOptions", "run"]

_RECONNECT_SECONDS = 30.0  # a tab that is away for less goes on as if it had not been
_HISTORY = 300  # messages that are sent again to a tab that was away
_GRACE_SECONDS = 2
_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp|bmp));base64,", re.I)


@dataclass(frozen=True)
class PageOptions:
    """Settings of the page.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        password: what the login form asks for; None: no login.
        allowed_hosts: names by which browsers may call it, beside the usual ones.
        open_browser: show it when it listens.
        until_stdin_closes: stop when the process that started this one has ended.
    """

    host: str = "127.0.0.1"
    port: int = 5050
    password: str | None = field(default=None, repr=False)
    allowed_hosts: Sequence[str] = ()
    open_browser: bool = False
    until_stdin_closes: bool = False


def run(options: PageOptions, client: AsyncClient, *, say: Callable[[str], None] = print) -> None:
    """Serve the page until it is stopped (Ctrl-C, or SIGTERM).

    Args:
        options: settings of the page.
        client: of the API server. It is closed in the end.
        say: is told where the page is.

    Raises:
        OSError: the address cannot be listened on.
    """
    logging.getLogger("tabbyapi").setLevel("WARNING")
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.port), family=family)
    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(options.host, options.host)
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"

    def started() -> None:
        say(f"The page is at {url}")
        if options.open_browser:
            webbrowser.open(url)

    guarded = Guard(
        _application(client, started),
        password=options.password,
        allowed_hosts=options.allowed_hosts,
        cookie=f"tabbyapi-session-{port}",
    )
    config = uvicorn.Config(
        GZipMiddleware(guarded, minimum_size=1000, compresslevel=4),
        log_level="warning",
        access_log=False,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        ws_max_size=4 << 20,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    if options.until_stdin_closes:

        def wait_for_parent() -> None:
            sys.stdin.buffer.read()
            server.should_exit = True

        threading.Thread(target=wait_for_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
        server.run(sockets=[listener])


def _application(client: AsyncClient, started: Callable[[], None]) -> FastAPI:
    """The page as an ASGI app. NiceGUI's state is global: once in a process."""
    chats: Chats
    status: ServerStatus

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        nonlocal chats, status
        async with client:
            status = ServerStatus(client)
            chats = Chats(client, status.refresh)
            watching = chats.spawn(status.watch())
            asyncio.get_running_loop().call_soon(started)
            yield
            watching.cancel()
            await chats.close()

    application = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    static = StaticFiles(directory=Path(__file__).with_name("static"))
    application.mount("/static", static)

    @application.get("/")
    async def _root() -> Response:
        return RedirectResponse(f"chat/{quote(sessions.fresh_name())}", 303)

    @application.get("/chat/{name}/export.{ending}")
    async def _export(name: str, ending: str) -> Response:
        try:
            conversation = (await chats.peek(name)).conversation
        except (TabbyError, OSError) as error:
            return PlainTextResponse(sentence(error), 404)
        markdown = ending == "md"
        text = conversation.to_markdown() if markdown else as_json(conversation)
        disposition = f'attachment; filename="{file_name(name, "md" if markdown else "json")}"'
        kind = "text/markdown" if markdown else "application/json"
        return Response(text, media_type=kind, headers={"Content-Disposition": disposition})

    @application.get("/chat/{name}/images/{index}/{part}")
    async def _image(name: str, index: int, part: int) -> Response:
        try:
            message = (await chats.peek(name)).messages[index]
            parts = message.content if isinstance(message.content, list) else []
            url = image_of(parts[part])
        except (TabbyError, OSError, IndexError):
            url = ""
        found = _DATA_URL.match(url)
        if found is None:
            return PlainTextResponse("There is no such image.", 404)
        data = base64.b64decode(url[found.end() :])
        return Response(data, media_type=found[1].lower(), headers={"Cache-Control": "no-store"})

    @ui.page("/chat/{name}")
    async def _chat(name: str) -> None:
        try:
            chat = await chats.open(name)
        except (TabbyError, OSError) as error:
            ui.page_title("TabbyAPI")
            ui.label(sentence(error))
            ui.link("Begin a new chat", "/")
            return
        show_chat(chats, status, chat)

    @ui.page("/server")
    async def _server() -> None:
        show_server(client, status)

    nicegui_app.config.quasar_config["loadingBar"] = {"skipHijack": True}  # it has no name
    ui.run_with(
        application,
        title="TabbyAPI",
        language="en-US",
        dark=None,
        tailwind=False,
        reconnect_timeout=_RECONNECT_SECONDS,
        message_history_length=_HISTORY,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,
        show_welcome_message=False,
    )
    return application
