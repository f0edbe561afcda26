"""The table of routes of the services beside chat."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import tokens
from .routing import body_route
from .runtime import Runtime

__all__ = ["service_routes"]


def service_routes(runtime: Runtime) -> list[BaseRoute]:
    """Every route of the services beside chat."""
    return [
        body_route(
            runtime, "/v1/token/encode", tokens.encode, tokens.EncodeRequest, needs_model=True
        ),
        body_route(
            runtime, "/v1/token/decode", tokens.decode, tokens.DecodeRequest, needs_model=True
        ),
    ]
