"""`GET /openapi.json`: what this server serves, described from its own table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...types.chat import ChatCompletionResponse
from ...types.completions import CompletionResponse
from ...types.embeddings import EmbeddingResponse
from ...types.models import LoadProgress, ModelCard, ModelList, ServerProps
from ...types.services import (
    AuthPermission,
    HealthStatus,
    LoraList,
    LoraLoadResponse,
    SamplerOverrides,
    TemplateList,
    TokenDecodeResponse,
    TokenEncodeResponse,
)
from ..auth import Access
from ..errors import JSON, json_answer
from ..http.routing import Served, get
from ..runtime import Runtime

__all__ = ["ROUTES", "describe"]

_REF = "#/components/schemas/"

# What a route answers with; those not named here answer with null, or with any JSON.
_ANSWERS: dict[str, Any] = {
    "/health": HealthStatus,
    "/props": ServerProps,
    "/v1/auth/permission": AuthPermission,
    "/v1/chat/completions": ChatCompletionResponse,
    "/v1/completions": CompletionResponse,
    "/v1/embeddings": EmbeddingResponse,
    "/v1/lora": LoraList,
    "/v1/lora/list": LoraList,
    "/v1/lora/load": LoraLoadResponse,
    "/v1/loras": LoraList,
    "/v1/model": ModelCard,
    "/v1/model/draft/list": ModelList,
    "/v1/model/embedding": ModelCard,
    "/v1/model/embedding/list": ModelList,
    "/v1/model/embedding/load": LoadProgress,
    "/v1/model/list": ModelList,
    "/v1/models": ModelList,
    "/v1/models/{id:path}": ModelCard,
    "/v1/sampling/override/list": SamplerOverrides,
    "/v1/sampling/overrides": SamplerOverrides,
    "/v1/template/list": TemplateList,
    "/v1/templates": TemplateList,
    "/v1/token/decode": TokenDecodeResponse,
    "/v1/token/encode": TokenEncodeResponse,
}
_STREAMS = {
    "/v1/chat/completions": "With `stream`: a chunk per event, then `data: [DONE]`.",
    "/v1/completions": "With `stream`: a chunk per event, then `data: [DONE]`.",
    "/v1/model/load": "Progress, an event per step; a failure is an event with `error`.",
}
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.API: [{"key": []}, {"bearer": []}],
    Access.ADMIN: [{"adminKey": []}, {"bearer": []}],
}
_DETAIL = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}
_OVERFLOW = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "null"},
                "code": {"type": "string"},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_FIELD_ERROR = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
        "msg": {"type": "string"},
        "input": {},
        "ctx": {"type": "object"},
    },
    "required": ["type", "loc", "msg"],
}
_FIELD_ERRORS = {
    "type": "object",
    "properties": {"detail": {"type": "array", "items": {"$ref": _REF + "FieldError"}}},
    "required": ["detail"],
}


async def openapi(request: Request, _: Runtime) -> Response:
    """The document. It takes long to make, and anyone may ask, so it is made once."""
    state = request.app.state
    if not hasattr(state, "description"):
        state.description = json_answer(describe(request.app.routes)).body
    return Response(state.description, media_type=JSON)


def describe(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    served = [route for route in routes if isinstance(route, Served)]
    bodies = sorted({r.body for r in served if r.body is not None}, key=lambda b: b.__name__)
    of_body, shared = models_json_schema(
        [(body, "validation") for body in bodies], ref_template=_REF + "{model}"
    )
    answers = sorted(set(_ANSWERS.values()), key=lambda a: str(a.__name__))
    found, parts = msgspec.json.schema_components(answers, ref_template=_REF + "Answer.{name}")
    of_answer = dict(zip(answers, found, strict=True))
    schemas: dict[str, Any] = dict(shared.get("$defs", {}))
    schemas |= {f"Answer.{name}": schema for name, schema in parts.items()}
    schemas |= {"Detail": _DETAIL, "ContextOverflow": _OVERFLOW}
    schemas |= {"FieldError": _FIELD_ERROR, "FieldErrors": _FIELD_ERRORS}
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        body = None if route.body is None else of_body[route.body, "validation"]
        answer = of_answer.get(_ANSWERS.get(route.path), {})
        operation = _operation(route, body, answer)
        for method in sorted(route.methods or ()):
            paths.setdefault(route.path_format, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TabbyAPI's protocol, served locally",
            "version": "1",
            "description": "Fields that are not known are ignored; a null means not given.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "adminKey": {"type": "apiKey", "in": "header", "name": "X-Admin-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Served, body: Any, answer: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"application/json": {"schema": answer}}
    if route.path in _STREAMS:
        stream = _EVENT | {"description": _STREAMS[route.path]}
        good["text/event-stream"] = {"schema": stream}
    answers = {"200": {"description": "The answer", "content": good}}
    if route.access is not Access.OPEN:
        answers["401"] = _refusal("No key, or not one that opens this route", "Detail")
        answers["400"] = _refusal("What was asked for cannot be done", "Detail", "ContextOverflow")
        busy = _refusal("No model is loaded, its engine failed, or the server is busy", "Detail")
        seconds = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        answers["503"] = busy | {"headers": {"Retry-After": seconds}}
    operation: dict[str, Any] = {"summary": route.summary, "responses": answers}
    if route.path == "/health":
        answers["503"] = answers["200"] | {"description": "Unhealthy"}
    if route.param_convertors:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in route.param_convertors
        ]
        answers["404"] = _refusal("There is no such thing", "Detail")
    if security := _SECURITY[route.access]:
        operation["security"] = security
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
        answers["408"] = _refusal("The body came too slowly", "Detail")
        answers["413"] = _refusal("The body is too large", "Detail")
        answers["422"] = _refusal("The body is not what it must be", "FieldErrors", "Detail")
    return operation


def _refusal(description: str, *names: str) -> dict[str, Any]:
    schemas = [{"$ref": _REF + name} for name in names]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


ROUTES = [get("/openapi.json", openapi, access=Access.OPEN)]
