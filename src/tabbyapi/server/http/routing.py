"""From a path to a handler: the checks that all routes share, in the order of the protocol.

The body must be JSON at all (422), then the key (401), then the loaded model where the route needs
one (503), then the body's fields (422), and only then the handler is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..auth import Access, Keys, check_access
from ..errors import STOPPING, ClientGone, HTTPError
from ..settings import Settings
from ..workers.turns import CALLER, Caller
from .bodies import MISSING, Bodies, located, read_json

__all__ = ["Context", "Endpoint", "Served", "command", "get", "post"]

B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound="Context")

log = logging.getLogger("tabbyapi.server")

# What values raise: half characters, endless nesting, numbers beyond every range.
_OF_THE_DATA = (ValueError, RecursionError, OverflowError)
_LONGEST_REASON = 300  # characters

_MISSING_BODY: dict[str, Any] = {
    "type": "missing",
    "loc": [],
    "msg": "Field required",
    "input": None,
}


class Context(Protocol):
    """What the checks need, and what handlers are given."""

    settings: Settings
    keys: Keys
    bodies: Bodies

    def model(self) -> object:
        """The loaded model; raises `HTTPError` (503) if there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A route as its module lists it: made by `get` or `post`, served by `Served`."""

    method: str
    path: str
    handler: Callable[..., Awaitable[ASGIApp]]
    body: type[BaseModel] | None
    access: Access
    needs_model: bool
    parity_body: type[BaseModel] | None = None
    """The JSON body as TabbyAPI takes it, where `body` takes more."""
    added: bool = False
    """TabbyAPI has no such route."""


def get(
    path: str,
    handler: Callable[[Request, C], Awaitable[ASGIApp]],
    *,
    access: Access = Access.API,
    needs_model: bool = False,
    added: bool = False,
) -> Endpoint:
    """A GET route."""
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        body=None,
        access=access,
        needs_model=needs_model,
        added=added,
    )


def post(
    path: str,
    handler: Callable[[Request, B, C], Awaitable[ASGIApp]],
    body: type[B],
    *,
    access: Access = Access.API,
    needs_model: bool = False,
    parity_body: type[B] | None = None,
) -> Endpoint:
    """A POST route with a JSON body."""
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        body=body,
        access=access,
        needs_model=needs_model,
        parity_body=parity_body,
    )


def command(
    path: str,
    handler: Callable[[Request, C], Awaitable[ASGIApp]],
    *,
    needs_model: bool = False,
) -> Endpoint:
    """A POST route without a body, for admins."""
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        body=None,
        access=Access.ADMIN,
        needs_model=needs_model,
    )


class Served(Route):
    """An endpoint, connected to the state of a server.

    Attributes:
        access: the class of keys that open it.
        body: the model of its JSON body, or None.
        summary: one line for the OpenAPI document.
    """

    def __init__(self, endpoint: Endpoint, context: Context) -> None:
        super().__init__(endpoint.path, _answering(endpoint, context), methods=[endpoint.method])
        self.access, self.body = endpoint.access, _body(endpoint, context)
        first = (endpoint.handler.__doc__ or "").strip().split("\n", 1)[0]
        # Handlers' docstrings may begin with the route, which the document names anyway.
        self.summary = first.rpartition("`: ")[2]
        self.methods = {endpoint.method}  # Starlette adds HEAD, which TabbyAPI answers with 405


def _body(endpoint: Endpoint, context: Context) -> type[BaseModel] | None:
    parity = context.settings.parity and endpoint.parity_body is not None
    return endpoint.parity_body if parity else endpoint.body


def _answering(endpoint: Endpoint, context: Context) -> Callable[[Request], Awaitable[Any]]:
    """The handler with its checks in front, and refusals as answers."""
    parity = context.settings.parity
    body = _body(endpoint, context)
    adapter: TypeAdapter[Any] | None = TypeAdapter(body) if body else None

    def authorize(request: Request) -> None:
        check_access(endpoint.access, request.headers, context.keys)

    async def without_body(request: Request) -> ASGIApp:
        authorize(request)
        if endpoint.needs_model:
            context.model()
        return await endpoint.handler(request, context)

    async def with_body(request: Request, adapter: TypeAdapter[Any]) -> ASGIApp:
        with context.bodies.hold() as hold:
            value = await read_json(request, context.settings, lambda: authorize(request), hold)
            authorize(request)
            if endpoint.needs_model:
                context.model()
            if value is MISSING or value is None:
                raise located([_MISSING_BODY])
            try:
                parsed = adapter.validate_python(value, from_attributes=True)
            except ValidationError as error:
                raise located([dict(e) for e in error.errors(include_url=False)]) from None
            return await endpoint.handler(request, parsed, context)

    async def answer(request: Request) -> Any:
        CALLER.set(_caller(request))
        try:
            return await (with_body(request, adapter) if adapter else without_body(request))
        except HTTPError as refused:
            return refused.answer(parity=parity)
        except _OF_THE_DATA as error:
            # A value that no check has foreseen: it is the request's, and so is the answer.
            log.exception("%s %s was refused", endpoint.method, endpoint.path)
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            detail = f"The request holds a value that cannot be used ({reason})."
            return HTTPError(400, detail).answer(parity=parity)
        except (ClientGone, ClientDisconnect):
            return Response(status_code=499)  # the client has left, so no one reads it
        except asyncio.CancelledError:
            stopped = HTTPError(503, STOPPING, headers={"connection": "close"})
            return stopped.answer(parity=parity)

    return answer


def _caller(request: Request) -> Caller:
    """Where a request comes from, for what is shared out among callers."""
    names = ("x-api-key", "x-admin-key", "authorization")
    key = "".join(request.headers.get(name, "") for name in names)
    connection = f"{request.client.host}:{request.client.port}" if request.client else ""
    return Caller(str(hash(key)), connection)
