"""Which model answers a request: the loaded one, or the one that its `model` field names."""

from __future__ import annotations

from starlette.requests import Request

from ..auth import permission
from ..engine import EngineError
from ..errors import HTTPError
from ..model_files.folders import find_gguf
from ..model_files.gguf import NotAModelError
from ..models import LoadedModel
from ..runtime import Runtime

__all__ = ["chosen_model"]


async def chosen_model(request: Request, name: str | None, runtime: Runtime) -> LoadedModel:
    """The model to answer with, loaded first where inline loading is on and `name` asks for it.

    Raises `HTTPError`: 401 without the admin key, 503 where no model is loaded or loading failed.
    A name that no model has is ignored, as is every name where inline loading is off.
    """
    settings = runtime.settings
    loaded = runtime.models.loaded
    if (
        not settings.inline_loading
        or not name
        or (loaded is not None and loaded.file.name == name)
        or name in settings.dummy_models
    ):
        return runtime.model()
    if permission(request.headers, runtime.keys) != "admin":
        raise HTTPError(
            401, f"Unable to switch model to {name} because an admin key isn't provided"
        )
    path = find_gguf(settings.folder, name)
    if path is None:
        return runtime.model()
    try:
        return await runtime.models.switch(path, name)
    except (EngineError, NotAModelError, OSError) as error:
        raise HTTPError(503, f"The model {name} could not be loaded: {error}") from None
