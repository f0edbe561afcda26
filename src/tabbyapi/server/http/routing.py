"""From a path to a handler: the checks every route shares, in the order the protocol has them.

The body must be JSON at all (422), then the key (401), then the loaded model where a route
declares it (503), then the body's fields (422), and only then the handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..auth import Access, check_access
from ..errors import ClientGone, HTTPError, json_answer
from ..runtime import Runtime
from .bodies import MISSING, located, read_json

__all__ = ["Served", "body_route", "route"]

Body = TypeVar("Body", bound=BaseModel)


class Served(Route):
    """A route that knows how to describe itself."""

    access = Access.OPEN
    body: type[BaseModel] | None = None
    summary = ""


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

    return _route(path, method, work, access, handler.__doc__)


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
        with runtime.bodies.hold() as hold:
            return await answered(request, hold)

    async def answered(request: Request, hold: Callable[[int], None]) -> ASGIApp:
        def authorize() -> None:
            check_access(access, request.headers, runtime.keys)

        value = await read_json(request, runtime.settings, authorize, hold)
        authorize()
        if needs_model:
            runtime.model()
        if value is MISSING or value is None:
            missing: dict[str, Any] = {
                "type": "missing",
                "loc": [],
                "msg": "Field required",
                "input": None,
            }
            raise located([missing])
        try:
            parsed = adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            raise located([dict(e) for e in error.errors(include_url=False)]) from None
        return await handler(request, parsed, runtime)

    return _route(path, "POST", work, access, handler.__doc__, body)


def _route(
    path: str,
    method: str,
    work: Callable[[Request], Awaitable[ASGIApp]],
    access: Access,
    description: str | None,
    body: type[BaseModel] | None = None,
) -> Route:
    async def endpoint(request: Request) -> Any:
        try:
            return await work(request)
        except HTTPError as refused:
            return refused.answer()
        except (ClientGone, ClientDisconnect):
            return Response(status_code=499)  # nobody is there to read it

    made = Served(path, endpoint, methods=[method])
    made.access, made.body = access, body
    # Ours begin with the route; the description has that anyway.
    made.summary = (description or "").strip().split("\n", 1)[0].rpartition("`: ")[2]
    made.methods = {method}  # Starlette adds HEAD, which TabbyAPI answers with 405
    return made


async def not_found(_: Request, __: Exception) -> Response:
    """404 as JSON."""
    return json_answer({"detail": "Not Found"}, 404)


async def not_allowed(request: Request, error: Exception) -> Response:
    """405 as JSON, with the methods that are."""
    headers = getattr(error, "headers", None)
    return json_answer({"detail": "Method Not Allowed"}, 405, headers)
