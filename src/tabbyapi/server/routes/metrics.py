"""`GET /metrics`, where `--metrics` asks for it."""

from __future__ import annotations

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from ..http.routing import get
from ..runtime import Runtime

__all__ = ["ROUTES"]


async def metrics(_: Request, runtime: Runtime) -> Response:
    """`GET /metrics`: what the server measures, in the text format of Prometheus."""
    assert runtime.metrics is not None
    content = generate_latest(runtime.metrics.registry)
    return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})


ROUTES = [get("/metrics", metrics)]
