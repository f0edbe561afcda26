"""Routes that tell about the server: health, permission, properties, models."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..auth import Access, permission
from ..errors import HTTPError, json_answer
from ..http.routing import get
from ..model_files.folders import gguf_names
from ..runtime import Runtime

__all__ = ["ROUTES", "model_card"]

_SITE = "https://theroyallab.github.io/tabbyAPI"


async def health(_: Request, runtime: Runtime) -> Response:
    """`GET /health`: unhealthy while a model is loaded whose engine does not run."""
    loaded = runtime.models.loaded
    if loaded is None or loaded.engine.running:
        return json_answer({"status": "healthy", "issues": []})
    issues, failure = runtime.issues, loaded.engine.failure
    if failure is not None:
        issues = [*issues, {"time": loaded.engine.failed_at, "description": str(failure)}]
    return json_answer({"status": "unhealthy", "issues": issues}, 503)


async def service_info(_: Request, __: Runtime) -> Response:
    """`GET /.well-known/serviceinfo`: what protocol is spoken here."""
    repository = "https://github.com/theroyallab/tabbyAPI"
    return json_answer(
        {
            "version": 0.1,
            "software": {"name": "TabbyAPI", "repository": repository, "homepage": repository},
            "api": {
                "openai": {
                    "name": "OpenAI API",
                    "relative_url": "/v1",
                    "documentation": _SITE,
                    "version": 1,
                },
                "koboldai": {
                    "name": "KoboldAI API",
                    "relative_url": "/api",
                    "documentation": _SITE,
                    "version": 1,
                },
            },
        }
    )


async def auth_permission(request: Request, runtime: Runtime) -> Response:
    """`GET /v1/auth/permission`."""
    level = permission(request.headers, runtime.keys)
    if level is None:
        raise HTTPError(400, "The provided authentication key is invalid.")
    return json_answer({"permission": level})


def model_card(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """A model card; `created` is the time of the request."""
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "tabbyAPI",
        "logging": None,
        "parameters": parameters,
    }


async def model_list(request: Request, runtime: Runtime) -> Response:
    """`GET /v1/models`: the folder for an admin, the loaded model for other keys."""
    data = [model_card(name) for name in _names(request, runtime)]
    return json_answer({"object": "list", "data": data})


def _names(request: Request, runtime: Runtime) -> list[str]:
    level = permission(request.headers, runtime.keys)
    if level is None:
        raise HTTPError(500, "contradictory keys")
    names = list(runtime.settings.dummy_models)
    if level == "admin":
        names += gguf_names(runtime.settings.folder)
    elif runtime.models.loaded is not None:
        names.append(runtime.models.loaded.file.name)
    return names


async def one_model(request: Request, runtime: Runtime) -> Response:
    """`GET /v1/models/{id}`: the card of a model that `GET /v1/models` lists."""
    name = request.path_params["id"]
    if name not in _names(request, runtime):
        raise HTTPError(404, f"There is no model {name!r}: see GET /v1/models.")
    return json_answer(model_card(name))


async def draft_list(request: Request, runtime: Runtime) -> Response:
    """`GET /v1/model/draft/list`: the folder for an admin; each model may be a draft model."""
    is_admin = permission(request.headers, runtime.keys) == "admin"
    data = [model_card(name) for name in gguf_names(runtime.settings.folder) if is_admin]
    return json_answer({"object": "list", "data": data})


async def current_model(_: Request, runtime: Runtime) -> Response:
    """`GET /v1/model`: the loaded model with its parameters."""
    loaded = runtime.model()
    template = loaded.template
    draft = None if runtime.settings.parity else loaded.engine.spec.draft  # TabbyAPI never tells
    return json_answer(
        model_card(
            loaded.file.name,
            {
                "max_seq_len": loaded.n_ctx,
                "cache_size": loaded.n_ctx,
                "cache_mode": "FP16",
                "rope_scale": 1.0,
                "rope_alpha": 1.0,
                "max_batch_size": runtime.settings.slots,
                "chunk_size": 256,
                "prompt_template": template.name if template else None,
                "prompt_template_content": template.source if template else None,
                "use_vision": loaded.has_vision,
                "draft": model_card(draft.stem) if draft is not None else None,
            },
        )
    )


async def props(_: Request, runtime: Runtime) -> Response:
    """`GET /props`."""
    loaded = runtime.model()
    return json_answer(
        {
            "total_slots": runtime.settings.slots,
            "chat_template": loaded.template.source if loaded.template else "",
            "default_generation_settings": {"n_ctx": loaded.n_ctx},
        }
    )


ROUTES = [
    get("/health", health, access=Access.OPEN),
    get("/.well-known/serviceinfo", service_info, access=Access.OPEN),
    get("/props", props, needs_model=True),
    get("/v1/auth/permission", auth_permission),
    get("/v1/models", model_list),
    get("/v1/models/{id:path}", one_model, added=True),
    get("/v1/model/list", model_list),
    get("/v1/model/draft/list", draft_list),
    get("/v1/model", current_model, needs_model=True),
]
