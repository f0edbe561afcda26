"""Builds the ASGI application: the routes of all modules over one `Runtime`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .auth import Keys
from .errors import HTTPError
from .http.access_log import AccessLog
from .http.origins import OriginGuard
from .http.routing import Served
from .routes import (
    chat,
    completions,
    downloads,
    embeddings,
    info,
    loras,
    metrics,
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


_CHAT = "TabbyAPI has no {path}: use chat completions (POST /v1/chat/completions), {how}."
_INSTEAD = {
    path: _CHAT.format(path=path, how=how)
    for path, how in {
        "/v1/responses": "for example `client.chat.completions` of openai, `openai.chat(...)` of "
        "the Vercel AI SDK, `OpenAIChatModel` of pydantic-ai, or `use_responses_api=False`",
        "/v1/messages": "with a client of OpenAI's API instead of Anthropic's",
        "/api/chat": "with a client of OpenAI's API instead of Ollama's",
        "/api/generate": "with a client of OpenAI's API instead of Ollama's",
        "/chat/completions": "with a base URL that ends in /v1",
    }.items()
}


def routes(runtime: Runtime) -> list[BaseRoute]:
    """All routes of the server, connected to its state."""
    parity = runtime.settings.parity
    listed = [endpoint for module in _MODULES for endpoint in module.ROUTES]
    listed += metrics.ROUTES if runtime.metrics is not None else []
    return [Served(e, runtime) for e in listed if not (parity and e.added)]


def build_app(settings: Settings, keys: Keys) -> Starlette:
    """The application, for any ASGI server. Its lifespan loads the model and ends the engine.

    Mounted in another application, it has no lifespan of its own: start and close its
    `app.state.runtime` in that application's.
    """
    runtime = Runtime(settings, keys)
    middleware = [Middleware(AccessLog)]
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

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.close()

    app = Starlette(
        routes=routes(runtime),
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _refused, 405: _refused},
    )
    app.state.runtime = runtime
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """404 and 405, with what to use instead of well-known routes of other servers."""
    assert isinstance(error, HTTPException)
    settings: Settings = request.app.state.runtime.settings
    hint = _INSTEAD.get(request.url.path.rstrip("/")) if error.status_code == 404 else None
    headers = dict(error.headers or {}) or None  # the methods that are allowed
    refused = HTTPError(error.status_code, error.detail, headers=headers, message=hint)
    return refused.answer(parity=settings.parity)
