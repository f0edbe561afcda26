"""The table of routes of the services beside chat."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import completions, loading, tokens
from .auth import Access
from .routing import body_route, route
from .runtime import Runtime

__all__ = ["service_routes"]


def service_routes(runtime: Runtime) -> list[BaseRoute]:
    """Every route of the services beside chat."""
    admin = Access.ADMIN
    return [
        body_route(
            runtime, "/v1/completions", completions.completions, completions.CompletionRequest
        ),
        body_route(runtime, "/v1/model/load", loading.load, loading.LoadRequest, access=admin),
        route(
            runtime,
            "/v1/model/unload",
            loading.unload,
            access=admin,
            method="POST",
            needs_model=True,
        ),
        body_route(
            runtime, "/v1/token/encode", tokens.encode, tokens.EncodeRequest, needs_model=True
        ),
        body_route(
            runtime, "/v1/token/decode", tokens.decode, tokens.DecodeRequest, needs_model=True
        ),
    ]
