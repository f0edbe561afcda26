"""Builds the ASGI application from settings: one table of routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from .auth import Access, Keys
from .http.routing import body_route, not_allowed, not_found, route
from .routes import info
from .routes.chat import chat_completions
from .routes.openapi import openapi
from .routes.service_routes import service_routes
from .runtime import Runtime
from .schemas import ChatCompletionRequest
from .settings import Settings

__all__ = ["build_app", "routes"]


def routes(runtime: Runtime) -> list[BaseRoute]:
    """Every route of the server."""
    return [
        route(runtime, "/health", info.health, access=Access.OPEN),
        route(runtime, "/openapi.json", openapi, access=Access.OPEN),
        route(runtime, "/.well-known/serviceinfo", info.service_info, access=Access.OPEN),
        route(runtime, "/props", info.props, needs_model=True),
        route(runtime, "/v1/auth/permission", info.auth_permission),
        route(runtime, "/v1/models", info.model_list),
        route(runtime, "/v1/model/list", info.model_list),
        route(runtime, "/v1/model/draft/list", info.draft_list),
        route(runtime, "/v1/model", info.current_model, needs_model=True),
        body_route(runtime, "/v1/chat/completions", chat_completions, ChatCompletionRequest),
        *service_routes(runtime),
    ]


def build_app(settings: Settings, keys: Keys) -> Starlette:
    """The application. Whoever runs it starts and unloads `app.state.runtime`."""
    runtime = Runtime(settings, keys)

    middleware = []
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
        exception_handlers={404: not_found, 405: not_allowed},
    )
    app.state.runtime = runtime
    return app
