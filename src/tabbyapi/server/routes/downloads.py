"""`POST /v1/download`: a repository of a hub into the folder of models or adapters."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import ASGIApp

from ..auth import Access
from ..errors import ClientGone, HTTPError, json_answer
from ..http.routing import post
from ..http.sse import unless_gone
from ..model_files.hub import HubError, download
from ..runtime import Runtime

__all__ = ["ROUTES"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FOLDER = re.compile(r"[\w][\w.+ -]*")


class DownloadRequest(BaseModel):
    """What to download, and which of its files."""

    repo_id: str
    repo_type: Literal["model", "lora"] | None = "model"
    folder_name: str | None = None
    revision: str | None = None
    token: str | None = Field(None, repr=False)
    include: list[str] | None = Field(default_factory=lambda: ["*"])
    exclude: list[str] | None = Field(default_factory=list)
    chunk_limit: int | None = None
    timeout: Annotated[int, Field(ge=1)] | None = None


async def fetch(request: Request, body: DownloadRequest, runtime: Runtime) -> ASGIApp:
    """Answers when everything is there. A client that leaves cancels, and nothing remains."""
    settings = runtime.settings
    base = settings.loras_dir if body.repo_type == "lora" else settings.folder
    if base is None:
        kind = "--loras-dir" if body.repo_type == "lora" else "--models-dir"
        raise HTTPError(400, f"There is no folder to download to: start the server with {kind}.")
    if not _REPOSITORY.fullmatch(body.repo_id) or ".." in body.repo_id:
        raise HTTPError(400, f"repo_id is {body.repo_id!r}, but must be of the form owner/name")
    name = body.folder_name or body.repo_id.partition("/")[2]
    if not _FOLDER.fullmatch(name):
        raise HTTPError(400, f"folder_name is {name!r}, but must be a plain name")
    target = base / name
    if target in runtime.downloading:
        raise HTTPError(400, f"{name} is being downloaded already.")
    is_new = not target.exists()
    options = {
        "repo_id": body.repo_id,
        "revision": body.revision,
        "local_dir": str(target),
        "allow_patterns": body.include,
        "ignore_patterns": body.exclude or None,
        "token": body.token,
        "endpoint": settings.hub_url,
    }
    runtime.downloading.add(target)
    try:
        await unless_gone(request.receive, download(options, timeout=body.timeout))
    except ClientGone:
        if is_new:
            await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
        raise
    except HubError as error:
        raise HTTPError(400, str(error)) from None
    finally:
        runtime.downloading.discard(target)
    return json_answer({"download_path": str(target)})


ROUTES = [post("/v1/download", fetch, DownloadRequest, access=Access.ADMIN)]
