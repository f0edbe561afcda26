"""The table of routes of the services beside chat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ..auth import Access
from ..http.routing import body_route, route
from ..runtime import Runtime
from . import (
    completions,
    downloads,
    embeddings,
    loras,
    tokens,
)
from . import (
    model_load as loading,
)
from . import (
    sampling as override_routes,
)
from . import (
    templates as template_routes,
)

__all__ = ["service_routes"]


def service_routes(runtime: Runtime) -> list[BaseRoute]:
    """Every route of the services beside chat."""
    return [
        *_generation_routes(runtime),
        *_model_routes(runtime),
        *_embedding_routes(runtime),
        *_lora_routes(runtime),
        *_template_routes(runtime),
        *_override_routes(runtime),
    ]


def _generation_routes(runtime: Runtime) -> list[BaseRoute]:
    return [
        body_route(
            runtime, "/v1/completions", completions.completions, completions.CompletionRequest
        ),
        body_route(
            runtime, "/v1/token/encode", tokens.encode, tokens.EncodeRequest, needs_model=True
        ),
        body_route(
            runtime, "/v1/token/decode", tokens.decode, tokens.DecodeRequest, needs_model=True
        ),
    ]


def _model_routes(runtime: Runtime) -> list[BaseRoute]:
    return [
        body_route(
            runtime, "/v1/model/load", loading.load, loading.LoadRequest, access=Access.ADMIN
        ),
        _order(runtime, "/v1/model/unload", loading.unload, needs_model=True),
        body_route(
            runtime,
            "/v1/download",
            downloads.fetch,
            downloads.DownloadRequest,
            access=Access.ADMIN,
        ),
    ]


def _lora_routes(runtime: Runtime) -> list[BaseRoute]:
    return [
        route(runtime, "/v1/loras", loras.listing),
        route(runtime, "/v1/lora/list", loras.listing),
        route(runtime, "/v1/lora", loras.active, needs_model=True),
        body_route(
            runtime,
            "/v1/lora/load",
            loras.load,
            loras.LoraLoadRequest,
            access=Access.ADMIN,
            needs_model=True,
        ),
        _order(runtime, "/v1/lora/unload", loras.unload, needs_model=True),
    ]


def _embedding_routes(runtime: Runtime) -> list[BaseRoute]:
    base = "/v1/model/embedding"
    return [
        body_route(runtime, "/v1/embeddings", embeddings.embeddings, embeddings.EmbeddingsRequest),
        route(runtime, base, embeddings.card),
        route(runtime, f"{base}/list", embeddings.listing),
        body_route(
            runtime,
            f"{base}/load",
            embeddings.load,
            embeddings.EmbeddingLoadRequest,
            access=Access.ADMIN,
        ),
        _order(runtime, f"{base}/unload", embeddings.unload),
    ]


def _template_routes(runtime: Runtime) -> list[BaseRoute]:
    return [
        route(runtime, "/v1/templates", template_routes.listing),
        route(runtime, "/v1/template/list", template_routes.listing),
        body_route(
            runtime,
            "/v1/template/switch",
            template_routes.switch,
            template_routes.TemplateSwitchRequest,
            access=Access.ADMIN,
            needs_model=True,
        ),
        _order(runtime, "/v1/template/unload", template_routes.unload, needs_model=True),
    ]


def _override_routes(runtime: Runtime) -> list[BaseRoute]:
    base = "/v1/sampling/override"
    return [
        route(runtime, "/v1/sampling/overrides", override_routes.listing),
        route(runtime, f"{base}/list", override_routes.listing),
        body_route(
            runtime,
            f"{base}/switch",
            override_routes.switch,
            override_routes.OverrideSwitchRequest,
            access=Access.ADMIN,
        ),
        _order(runtime, f"{base}/unload", override_routes.unload),
    ]


def _order(
    runtime: Runtime,
    path: str,
    handler: Callable[[Request, Runtime], Awaitable[ASGIApp]],
    *,
    needs_model: bool = False,
) -> BaseRoute:
    """A POST without a body, for the admin."""
    return route(
        runtime, path, handler, access=Access.ADMIN, method="POST", needs_model=needs_model
    )
