"""Keeps web pages away from a server that asks for no key.

Any page that its user opens can send requests to this machine: plain ones that need no body at
once, and others under a name that it has made lead here (DNS rebinding). Browsers say where a
request comes from (`Origin`, `Sec-Fetch-Site`) and which name was asked for (`Host`); programs that
are no browsers send no origin, and are let through.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import HTTPError
from ..settings import Settings

__all__ = ["OriginGuard", "is_loopback"]


def is_loopback(host: str) -> bool:
    """True for this machine's own names and addresses."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class OriginGuard:
    """ASGI middleware: refuses (403) requests of pages that `cors_origins` does not name."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._parity = settings.parity
        self._origins = set(settings.cors_origins)
        self._hosts = {name.lower() for name in (settings.host, *settings.allowed_hosts)}
        # A server for other machines has names that only its owner knows.
        self._checks_host = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http" and (reason := self._reason(Headers(scope=scope))):
            await HTTPError(403, reason).answer(parity=self._parity)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _reason(self, headers: Headers) -> str:
        """Why the request is refused, "" if it is not."""
        host = headers.get("host", "")
        name = _name(host)
        if self._checks_host and host and not (is_loopback(name) or name in self._hosts):
            return (
                f"This server asks for no key, so it answers to names of this machine only, not "
                f"to {name!r}: allow it with --allowed-host, or use keys."
            )
        origin = headers.get("origin")
        if origin in self._origins or "*" in self._origins:
            return ""
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign or (origin is not None and urlsplit(origin).netloc.lower() != host.lower()):
            return (
                f"This server asks for no key, so web pages of other origins ({origin}) may not "
                f"use it: allow them with --cors-origin, or use keys."
            )
        return ""


def _name(host: str) -> str:
    """The name in a `Host` header, without port and brackets, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host
