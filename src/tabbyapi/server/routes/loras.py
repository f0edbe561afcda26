"""LoRA adapters: `/v1/lora/...`.

The engine takes adapters when it loads a model, so it is started anew with them, on the same
model. Answers that are being written are waited for; requests that come meanwhile get a 503.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import ASGIApp

from ..auth import Access, permission
from ..engine import EngineError
from ..errors import HTTPError, json_answer
from ..http.routing import command, get, post
from ..model_files.folders import find_gguf, gguf_names
from ..model_files.gguf import NotAModelError, read_header
from ..models import Adapter, LoadedModel
from ..runtime import Runtime

__all__ = ["ROUTES"]


class LoraLoadInfo(BaseModel):
    name: str
    scaling: Annotated[float, Field(allow_inf_nan=False)] | None = 1.0


class LoraLoadRequest(BaseModel):
    """Adapters to use from now on, beside those in use."""

    loras: list[LoraLoadInfo]
    skip_queue: bool | None = False


async def listing(request: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/loras`: the folder for an admin, those in use for anyone else."""
    if permission(request.headers, runtime.keys) != "admin":
        return json_answer(_cards(loaded.adapters if (loaded := runtime.models.loaded) else {}))
    names = gguf_names(runtime.settings.loras_dir)
    return json_answer({"object": "list", "data": [_card(name, None) for name in names]})


async def active(_: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/lora`: the adapters in use."""
    return json_answer(_cards(runtime.model().adapters))


async def load(_: Request, body: LoraLoadRequest, runtime: Runtime) -> ASGIApp:
    """`POST /v1/lora/load`: tells which adapters are in use now and which could not be."""
    if not body.loras:
        raise HTTPError(400, "List of loras to load is not found.")
    return json_answer(await runtime.background(_load(body, runtime)))


async def _load(body: LoraLoadRequest, runtime: Runtime) -> dict[str, list[str]]:
    async with runtime.models.changing:
        loaded = runtime.model()
        wanted: dict[str, Adapter] = {}
        failure: list[str] = []
        for info in body.loras:
            path = find_gguf(runtime.settings.loras_dir, info.name)
            if path is None or not await asyncio.to_thread(_fits, path, loaded):
                failure.append(info.name)
                continue
            wanted[info.name] = Adapter(path, 1.0 if info.scaling is None else info.scaling)
        if wanted:
            try:
                await runtime.models.use_adapters(
                    loaded.adapters | wanted, wait=not body.skip_queue
                )
            except EngineError as error:
                runtime.report(f"LoRA adapters were not loaded: {error}")
                failure += wanted
                wanted = {}
        return {"success": list(wanted), "failure": failure}


async def unload(_: Request, runtime: Runtime) -> ASGIApp:
    """`POST /v1/lora/unload`: no adapter is in use afterwards."""

    async def work() -> None:
        async with runtime.models.changing:
            if (loaded := runtime.models.loaded) is not None and loaded.adapters:
                await runtime.models.use_adapters({})

    try:
        await runtime.background(work())
    except EngineError as error:
        raise HTTPError(503, f"The model cannot answer: {error}") from None
    return json_answer(None)


def _fits(path: Path, loaded: LoadedModel) -> bool:
    """True if the file is an adapter for models of this kind."""
    try:
        header = read_header(path)
        model = read_header(loaded.file.path)
    except (NotAModelError, OSError):
        return False
    return header.get("general.type") == "adapter" and (
        header.get("general.architecture") == model.get("general.architecture")
    )


def _cards(adapters: dict[str, Adapter]) -> dict[str, object]:
    data = [_card(name, adapter.scaling) for name, adapter in adapters.items()]
    return {"object": "list", "data": data}


def _card(name: str, scaling: float | None) -> dict[str, object]:
    card: dict[str, object] = {"id": name, "object": "lora", "created": int(time.time())}
    return card | {"owned_by": "tabbyAPI", "scaling": scaling}


ROUTES = [
    get("/v1/loras", listing),
    get("/v1/lora/list", listing),
    get("/v1/lora", active, needs_model=True),
    post("/v1/lora/load", load, LoraLoadRequest, access=Access.ADMIN, needs_model=True),
    command("/v1/lora/unload", unload, needs_model=True),
]
