"""Builds the ASGI application: the routes of all modules over one `Runtime`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .auth import Keys
from .errors import json_answer
from .http.origins import OriginGuard
from .http.routing import Served
from .routes import (
    chat,
    completions,
    downloads,
    embeddings,
    info,
    loras,
    model_load,
    openapi,
    sampling,
    templates,
    tokens,
)
from .runtime import Runtime
from .settings import Settings

__all__ = ["build_app", "routes"]

_MODULES = (
    *(info, openapi, chat, completions, tokens, embeddings),
    *(model_load, downloads, loras, templates, sampling),
)


def routes(runtime: Runtime) -> list[BaseRoute]:
    """All routes of the server, connected to its state."""
    return [Served(endpoint, runtime) for module in _MODULES for endpoint in module.ROUTES]


def build_app(settings: Settings, keys: Keys) -> Starlette:
    """The application. Start and close its `app.state.runtime` around serving."""
    runtime = Runtime(settings, keys)
    middleware = []
    if not keys.enabled:
        middleware.append(Middleware(OriginGuard, settings))
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials="*" not in settings.cors_origins,
            )
        )
    app = Starlette(
        routes=routes(runtime),
        middleware=middleware,
        exception_handlers={404: _not_found, 405: _not_allowed},
    )
    app.state.runtime = runtime
    return app


async def _not_found(_: Request, __: Exception) -> Response:
    return json_answer({"detail": "Not Found"}, 404)


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None)  # the methods that are allowed
    return json_answer({"detail": "Method Not Allowed"}, 405, headers)
