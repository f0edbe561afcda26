"""From a path to a handler: the checks every route shares, in the order the protocol has them.

The body must be JSON at all (422), then the key (401), then the loaded model where a route
declares it (503), then the body's fields (422), and only then the handler.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .answers import ClientGone, Refused, json_answer, validation_refused
from .auth import Access, check_access
from .runtime import Runtime

__all__ = ["body_route", "route"]

Body = TypeVar("Body", bound=BaseModel)
_MISSING = object()


def route(
    runtime: Runtime,
    path: str,
    handler: Callable[[Request, Runtime], Awaitable[ASGIApp]],
    *,
    access: Access = Access.API,
    method: str = "GET",
    needs_model: bool = False,
) -> Route:
    """A route without a body."""

    async def work(request: Request) -> ASGIApp:
        check_access(access, request.headers, runtime.keys)
        if needs_model:
            runtime.model()
        return await handler(request, runtime)

    return _route(path, method, work)


def body_route(
    runtime: Runtime,
    path: str,
    handler: Callable[[Request, Body, Runtime], Awaitable[ASGIApp]],
    body: type[Body],
    *,
    access: Access = Access.API,
    needs_model: bool = False,
) -> Route:
    """A POST route whose JSON body is a `body`."""
    adapter: TypeAdapter[Body] = TypeAdapter(body)

    async def work(request: Request) -> ASGIApp:
        value = await _read_json(request, runtime)
        check_access(access, request.headers, runtime.keys)
        if needs_model:
            runtime.model()
        if value is _MISSING or value is None:
            missing: dict[str, Any] = {
                "type": "missing",
                "loc": [],
                "msg": "Field required",
                "input": None,
            }
            raise _located([missing])
        try:
            parsed = adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            raise _located([dict(e) for e in error.errors(include_url=False)]) from None
        return await handler(request, parsed, runtime)

    return _route(path, "POST", work)


def _route(path: str, method: str, work: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
    async def endpoint(request: Request) -> Any:
        try:
            return await work(request)
        except Refused as refused:
            return refused.answer()
        except (ClientGone, ClientDisconnect):
            return Response(status_code=499)  # nobody is there to read it

    made = Route(path, endpoint, methods=[method])
    made.methods = {method}  # Starlette adds HEAD, which TabbyAPI answers with 405
    return made


def _located(errors: list[dict[str, Any]]) -> Refused:
    return validation_refused([e | {"loc": ["body", *e["loc"]]} for e in errors])


async def _read_json(request: Request, runtime: Runtime) -> Any:
    raw = await _read(request, runtime.settings.max_body_bytes)
    if not raw:
        return _MISSING
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or (kind.startswith("application/") and "+json" in kind)):
        # Taken for a string, which no route wants: the answer says what was read.
        return raw.decode(errors="replace")
    try:
        value = json.loads(raw)
        _check(value, raw, runtime.settings.max_json_depth)
    except json.JSONDecodeError as error:
        what = {"error": error.msg}
        raise _located(
            [
                {
                    "type": "json_invalid",
                    "loc": [error.pos],
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": what,
                }
            ]
        ) from None
    except UnicodeError:
        raise Refused(400, "The body is not valid UTF-8, or holds half a character.") from None
    except RecursionError:
        raise Refused(400, "The body is nested too deeply.") from None
    except ValueError as error:  # a number with thousands of digits
        raise Refused(400, f"The body cannot be read: {error}") from None
    return value


def _check(value: Any, raw: bytes, deepest: int) -> None:
    """Refuse what would fail later: deep nesting, and lone surrogates, which are no text."""
    if b"\\ud" in raw or b"\\uD" in raw:
        json.dumps(value, ensure_ascii=False).encode()
    if raw.count(b"[") + raw.count(b"{") <= deepest:
        return
    level = [value]
    for _ in range(deepest):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise RecursionError


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"The body is larger than {most} bytes.")
        parts.append(part)
    return b"".join(parts)


async def not_found(_: Request, __: Exception) -> Response:
    """404 as JSON."""
    return json_answer({"detail": "Not Found"}, 404)


async def not_allowed(request: Request, error: Exception) -> Response:
    """405 as JSON, with the methods that are."""
    headers = getattr(error, "headers", None)
    return json_answer({"detail": "Method Not Allowed"}, 405, headers)
