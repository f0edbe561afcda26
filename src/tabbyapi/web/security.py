"""Who may use the page: the host name, the origin, the password; and the headers of each answer.

A request passes these in order:
1. Host: an IP address, localhost, this machine's name, or a name given with `--allowed-host`.
   Other names may point here by DNS rebinding: a page of another site would be this site then.
2. Origin: a WebSocket, or a request that changes something, comes from this site's own pages.
3. Session: where a password is set, a signed cookie that the login form hands out.
Every answer gets a Content-Security-Policy. Scripts of a page carry a nonce, so that no script
in its content runs, whatever a renderer lets through. NiceGUI needs `unsafe-eval`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Collection
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION_SECONDS = 30 * 24 * 3600
_DELAY_SECONDS = 1.0  # after a wrong password, for all attempts together
_LONGEST_FORM = 4096
_SCRIPTS = (b'<script type="importmap">', b'<script type="module">', b"<script>")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that lets only this site's own users and pages through.

    Args:
        app: the page.
        password: what the login form asks for; None: no login.
        allowed_hosts: names that the Host header may have, beside the usual ones.
        cookie: name of the session cookie; cookies of all ports of a host are kept together.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        password: str | None = None,
        allowed_hosts: Collection[str] = (),
        cookie: str = "tabbyapi-session",
    ) -> None:
        self._app = app
        self._password = password
        names = {"localhost", socket.gethostname(), socket.getfqdn(), *allowed_hosts}
        self._names = {name.lower() for name in names}
        self._cookie = cookie
        self._signer = TimestampSigner(secrets.token_bytes(32))
        self._attempts = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._refusal(connection)
        if refusal is None and self._password is not None and not self._logged_in(connection):
            refusal = await self._login(Request(scope, receive)) if _is_http(scope) else _CLOSED
        if refusal is None:
            await self._app(scope, receive, _Protected(scope, send))
        elif _is_http(scope):
            await refusal(scope, receive, _Protected(scope, send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        headers = connection.headers
        host = headers.get("host", "")
        if not self._is_own_host(host):
            return PlainTextResponse(
                f"This page does not answer to the name {host[:100]!r}. Start it with "
                "--allowed-host NAME if the name is right.",
                421,
            )
        scope = connection.scope
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not _is_own_origin(headers, host):
            return PlainTextResponse("This request comes from another site.", 403)
        return None

    def _is_own_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    # -------------------------------------------------------------------- login

    def _logged_in(self, connection: HTTPConnection) -> bool:
        try:
            self._signer.unsign(connection.cookies.get(self._cookie, ""), _SESSION_SECONDS)
        except BadSignature:
            return False
        return True

    async def _login(self, request: Request) -> Response:
        """The login form, or the session of a right password."""
        prefix = request.headers.get("x-forwarded-prefix", "")
        path = request.url.path
        if path != "/login":
            if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
                return PlainTextResponse("Log in first.", 401)
            return RedirectResponse(f"{prefix}/login", 303)
        if request.method != "POST":
            return HTMLResponse(_form(""))
        password = (await _form_fields(request)).get("password", [""])[0]
        async with self._attempts:  # one at a time, so that the delay holds for all of them
            right = hmac.compare_digest(password.encode(), (self._password or "").encode())
            if not right:
                await asyncio.sleep(_DELAY_SECONDS)
                return HTMLResponse(_form("That is not the password."), 401)
        response = RedirectResponse(f"{prefix}/", 303)
        response.set_cookie(
            self._cookie,
            self._signer.sign("in").decode(),
            max_age=_SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response


_CLOSED = Response()


def _is_http(scope: Scope) -> bool:
    return bool(scope["type"] == "http")


def _is_own_origin(headers: Headers, host: str) -> bool:
    """True if a browser sent this from a page of the same host and port, or if none sent it."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


async def _form_fields(request: Request) -> dict[str, list[str]]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            return {}
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)


class _Protected:
    """Sends an answer with the security headers, and a nonce on the page's own scripts."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._is_http = _is_http(scope)
        self._start: Message | None = None  # held back: its length changes with the body
        self._body = b""
        self._nonce = secrets.token_urlsafe(16)

    async def __call__(self, message: Message) -> None:
        if not self._is_http:
            await self._send(message)
        elif message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["Content-Security-Policy"] = _policy(self._nonce)
            for name, value in _HEADERS.items():
                headers[name] = value
            if headers.get("content-type", "").startswith("text/html"):
                headers["Cache-Control"] = "no-store"
                self._start = message
            else:
                await self._send(message)
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start)

    async def _send_page(self, start: Message) -> None:
        body = self._body
        for tag in _SCRIPTS:  # data in a page is escaped: it holds no "<"
            body = body.replace(tag, tag[:-1] + f' nonce="{self._nonce}">'.encode())
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _policy(nonce: str) -> str:
    rules: dict[str, Any] = {
        "default-src": "'none'",
        "script-src": f"'self' 'nonce-{nonce}' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _form(problem: str) -> str:
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return f"""<!doctype html><html lang="en"><head><title>Log in - TabbyAPI</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 0 }}
form {{ display: grid; gap: .75rem; width: min(20rem, 90vw) }}
input, button {{ font: inherit; padding: .6rem; border-radius: .5rem; border: 1px solid #888 }}
button {{ background: #2f4fb5; color: #fff; border: 0; cursor: pointer }} h1 {{ font-size: 1.3rem }}
</style></head><body><main><form method="post" action="login"><h1>TabbyAPI</h1>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
 autofocus>{alert}<button>Log in</button></form></main></body></html>"""
