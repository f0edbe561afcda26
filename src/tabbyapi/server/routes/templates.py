"""Prompt templates that are switched while the server runs: `/v1/template/...`."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from ..auth import Access, permission
from ..errors import HTTPError, json_answer
from ..http.routing import command, get, post
from ..model_files.folders import TEMPLATE_SUFFIXES, find, names
from ..prompt.templates import TemplateError
from ..runtime import Runtime

__all__ = ["ROUTES"]


class TemplateSwitchRequest(BaseModel):
    """Which template to use from now on."""

    prompt_template_name: str


async def listing(request: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/templates`: the folder for an admin, the one in use for anyone else."""
    found: list[str] = []
    if permission(request.headers, runtime.keys) == "admin":
        found = names(runtime.settings.templates_dir, *TEMPLATE_SUFFIXES)
    elif (loaded := runtime.models.loaded) is not None and loaded.template is not None:
        found = [loaded.template.name]
    return json_answer({"object": "list", "data": found})


async def switch(_: Request, body: TemplateSwitchRequest, runtime: Runtime) -> ASGIApp:
    """`POST /v1/template/switch`. A template that cannot be used leaves the old one in place."""
    name = body.prompt_template_name
    if not name:
        raise HTTPError(400, "New template name not found.")
    loaded = runtime.model()
    if find(runtime.settings.templates_dir, name, *TEMPLATE_SUFFIXES) is None:
        raise HTTPError(400, f"There is no prompt template {name!r}: see GET /v1/templates.")
    try:
        loaded.template = await runtime.templates.named(name)
    except TemplateError as error:
        raise HTTPError(400, f"TemplateError: {error}") from None
    return json_answer(None)


async def unload(_: Request, runtime: Runtime) -> ASGIApp:
    """`POST /v1/template/unload`: without a template there is no chat."""
    runtime.model().template = None
    return json_answer(None)


ROUTES = [
    get("/v1/templates", listing),
    get("/v1/template/list", listing),
    post(
        "/v1/template/switch",
        switch,
        TemplateSwitchRequest,
        access=Access.ADMIN,
        needs_model=True,
    ),
    command("/v1/template/unload", unload, needs_model=True),
]
