"""`/v1/sampling/override/...`: which sampler overrides are in force."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from ..auth import Access, permission
from ..errors import HTTPError, json_answer
from ..http.routing import command, get, post
from ..model_files.folders import names
from ..overrides import PRESET_SUFFIXES, PresetError, read_preset
from ..runtime import Runtime

__all__ = ["ROUTES"]


class OverrideSwitchRequest(BaseModel):
    """A preset's name, or overrides themselves; the name goes first."""

    preset: str | None = None
    overrides: dict[str, Any] | None = None


async def listing(request: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/sampling/overrides`; the presets are for an admin to see."""
    is_admin = permission(request.headers, runtime.keys) == "admin"
    presets = names(runtime.settings.presets_dir, *PRESET_SUFFIXES) if is_admin else []
    return json_answer(
        {
            "selected_preset": runtime.overrides.preset,
            "overrides": runtime.overrides.listed,
            "presets": presets,
        }
    )


async def switch(_: Request, body: OverrideSwitchRequest, runtime: Runtime) -> ASGIApp:
    """`POST /v1/sampling/override/switch`. What cannot be used leaves the old ones in force."""
    if not body.preset and not body.overrides:
        raise HTTPError(400, "A sampler override preset or dictionary wasn't provided.")
    try:
        if body.preset:
            preset = read_preset(runtime.settings.presets_dir, body.preset)
            runtime.overrides.switch(preset, body.preset)
        else:
            runtime.overrides.switch(body.overrides or {})
    except PresetError as error:
        raise HTTPError(400, str(error)) from None
    return json_answer(None)


async def unload(_: Request, runtime: Runtime) -> ASGIApp:
    """`POST /v1/sampling/override/unload`."""
    runtime.overrides.clear()
    return json_answer(None)


_BASE = "/v1/sampling/override"
ROUTES = [
    get("/v1/sampling/overrides", listing),
    get(f"{_BASE}/list", listing),
    post(f"{_BASE}/switch", switch, OverrideSwitchRequest, access=Access.ADMIN),
    command(f"{_BASE}/unload", unload),
]
