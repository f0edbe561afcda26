"""One log line for each request: method, path, status, milliseconds, tokens generated."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AccessLog", "count_tokens"]

log = logging.getLogger("tabbyapi.requests")

_made: ContextVar[list[int] | None] = ContextVar("made", default=None)


def count_tokens(number: int) -> None:
    """Note tokens that were generated for the request that is being answered."""
    if (made := _made.get()) is not None:
        made.append(number)


class AccessLog:
    """ASGI middleware. Costs nothing while the logger `tabbyapi.requests` is not at INFO."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        begin, status, made = time.monotonic(), 0, list[int]()
        _made.set(made)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            ms = (time.monotonic() - begin) * 1000
            tokens = f" {sum(made)} tokens" if made else ""
            log.info("%s %s %d %.0f ms%s", scope["method"], scope["path"], status, ms, tokens)
