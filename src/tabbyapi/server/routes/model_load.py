"""`POST /v1/model/load` and `/v1/model/unload`.

A load belongs to the server, not to the request that asked for it: a client that leaves the stream
of its progress does not cancel it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.types import ASGIApp

from ..auth import Access
from ..engine import EngineError
from ..engine.mailbox import Mailbox
from ..errors import HTTPError, error_event, json_answer
from ..http.routing import command, post
from ..http.sse import AnyOutgoing, EventStream, ping
from ..model_files.folders import find_gguf
from ..model_files.gguf import NotAModelError
from ..models import LoadOptions
from ..prompt.templates import TemplateError
from ..runtime import Runtime

__all__ = ["ROUTES"]

_STEPS = 20
"""Parts that the loading of a file is reported in. The engine tells the share it has read."""

_OURS = ("exllamav3", "llamacpp")  # the first is what clients of TabbyAPI ask for


class DraftModel(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    draft_model_name: str


class LoadRequest(BaseModel):
    """What to load. Fields that only a GPU server has a use for are accepted and ignored."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    backend: str | None = None
    max_seq_len: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    cache_size: Annotated[int, Field(multiple_of=256)] | None = None
    cache_mode: str | None = None
    prompt_template: str | None = None
    vision: bool | None = None
    draft_model: DraftModel | None = None
    skip_queue: bool | None = False


async def load(_: Request, body: LoadRequest, runtime: Runtime) -> ASGIApp:
    """Load a model, answering with a stream of its progress."""
    if not body.model_name:
        raise HTTPError(400, "A model name was not provided for load.")
    path = find_gguf(runtime.settings.folder, body.model_name)
    if path is None:
        raise HTTPError(
            400, "Could not find the model path for load. Check model name or config.yml?"
        )
    draft, wanted = None, body.draft_model
    if wanted is not None:
        draft = find_gguf(runtime.settings.folder, wanted.draft_model_name)
    if wanted is not None and draft is None:
        raise HTTPError(400, "Could not find the path of the draft model. Check its name?")
    news: Mailbox[float] = Mailbox()
    begun = False

    def progressed(share: float) -> None:
        nonlocal begun
        begun = True
        news.put(share)

    options = LoadOptions(
        n_ctx=body.max_seq_len if (body.max_seq_len or 0) > 0 else None,
        vision=body.vision is not False,
        prompt_template=body.prompt_template,
        draft=draft,
        skip_queue=bool(body.skip_queue),
        on_progress=progressed,
    )

    async def work() -> bool:
        """True if anything had to be done."""
        if body.backend not in (None, *_OURS):
            raise EngineError(f"there is no backend {body.backend!r}: leave it out")
        await runtime.models.switch(path, body.model_name, options)
        return begun

    task = runtime.background(work())
    return EventStream(partial(_progress, task, news, runtime), on_close=lambda: None)


async def unload(_: Request, runtime: Runtime) -> ASGIApp:
    """Unload the model; its memory is free when this is answered. Running answers end."""
    async with runtime.models.changing:
        runtime.model()
        await runtime.models.unload()
    return json_answer(None)


async def _progress(
    task: asyncio.Task[bool],
    news: Mailbox[float],
    runtime: Runtime,
    outgoing: AnyOutgoing,
) -> bytes:
    interval = runtime.settings.ping_interval or None
    said = 0
    reader = asyncio.ensure_future(news.take())
    try:
        while not task.done():
            done, _ = await asyncio.wait(
                {task, reader}, timeout=interval, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                outgoing.put(ping())
            if reader.done():
                step = min(_STEPS - 1, int(reader.result()[-1] * _STEPS))
                while said < step:
                    said += 1
                    outgoing.put(_event("model", said, _STEPS, "processing"))
                reader = asyncio.ensure_future(news.take())
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    try:
        fresh = task.result()
    except (EngineError, NotAModelError, TemplateError, OSError) as error:
        return error_event(str(error))
    steps = _STEPS if fresh else 1
    if fresh and (loaded := runtime.models.loaded) is not None and loaded.engine.spec.draft:
        outgoing.put(_event("draft", 1, 1, "processing") + _event("draft", 1, 1, "finished"))
    if fresh and (loaded := runtime.models.loaded) is not None and loaded.has_vision:
        outgoing.put(_event("vision", 1, 1, "processing") + _event("vision", 1, 1, "finished"))
    for step in range(said + 1 if fresh else 1, steps + 1):
        outgoing.put(_event("model", step, steps, "processing"))
    return _event("model", steps, steps, "finished")


def _event(kind: str, module: int, modules: int, status: str) -> bytes:
    body: dict[str, Any] = {"model_type": kind, "module": module, "modules": modules}
    return b"data: " + msgspec.json.encode(body | {"status": status}) + b"\r\n\r\n"


ROUTES = [
    post("/v1/model/load", load, LoadRequest, access=Access.ADMIN),
    command("/v1/model/unload", unload, needs_model=True),
]
