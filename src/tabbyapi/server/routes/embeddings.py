"""Embedding models and their vectors: `/v1/embeddings` and `/v1/model/embedding/...`.

An embedding model has an engine of its own beside the model's. Its pooling is the one that its
file names, else the mean over the tokens; vectors have length 1.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ..auth import Access, permission
from ..engine import EngineDied, EngineError, EngineRefusal
from ..errors import HTTPError, context_refused, json_answer
from ..generation.jobs import LONGEST_TOKEN
from ..http.routing import command, get, post
from ..http.sse import unless_gone
from ..model_files.folders import find_gguf, gguf_names
from ..model_files.gguf import NotAModelError
from ..runtime import Runtime
from .info import model_card

__all__ = ["ROUTES"]

_MOST_INPUTS = 4096


class EmbeddingsRequest(BaseModel):
    """Texts, or their token ids, to turn into vectors."""

    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: str | None = "float"
    model: str | None = None


class ParityEmbeddingsRequest(EmbeddingsRequest):
    """As TabbyAPI takes it."""

    input: str | list[str]


class EmbeddingLoadRequest(BaseModel):
    """Which model to load. The engine chooses the device."""

    embedding_model_name: str
    embeddings_device: str | None = None


class _Vector(msgspec.Struct):
    embedding: msgspec.Raw
    index: int


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: dict[str, int]


async def embeddings(request: Request, body: EmbeddingsRequest, runtime: Runtime) -> ASGIApp:
    """`POST /v1/embeddings`: a vector for each text."""
    model = runtime.models.require_embedding()
    given = body.input
    one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    texts = cast(list[str | list[int]], [given] if one else given)
    if not texts or not all(texts):
        raise HTTPError(400, "There is nothing to embed: an input is empty.")
    if len(texts) > _MOST_INPUTS:
        raise HTTPError(400, f"There are {len(texts)} inputs; this server takes {_MOST_INPUTS}.")
    most = model.engine.spec.n_ctx * LONGEST_TOKEN
    longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
    if longest > most:
        raise context_refused(
            f"An input is too long for {model.file.name}: {longest:,} characters, which are more "
            f"than {model.engine.spec.n_ctx} tokens in any case"
        )
    form = "base64" if body.encoding_format == "base64" else "float"
    runtime.admission.enter()
    try:
        native = await model.engine.ready()
        payload = {"input": texts, "encoding_format": form}
        raw = await unless_gone(request.receive, native.post_raw("/v1/embeddings", payload))
    except EngineRefusal as error:
        if error.overflow or "too large to process" in str(error):
            raise context_refused(f"An input is too long for {model.file.name}: {error}") from None
        raise HTTPError(400, f"The engine refused the request: {error}") from None
    except (EngineDied, EngineError) as error:
        raise HTTPError(503, f"Embeddings aborted. The engine stopped: {error}") from None
    finally:
        runtime.admission.leave()
    return _answer(msgspec.json.decode(raw, type=_Vectors), model.file.name)


def _answer(vectors: _Vectors, name: str) -> Response:
    tokens = vectors.usage.get("prompt_tokens", 0)
    return json_answer(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": item.embedding, "index": item.index}
                for item in sorted(vectors.data, key=lambda item: item.index)
            ],
            "model": name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }
    )


async def card(_: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/model/embedding`."""
    return json_answer(model_card(runtime.models.require_embedding().file.name))


async def listing(request: Request, runtime: Runtime) -> ASGIApp:
    """`GET /v1/model/embedding/list`: the folder for an admin, the loaded one for anyone else."""
    names: list[str] = []
    if permission(request.headers, runtime.keys) == "admin":
        names = gguf_names(runtime.settings.embeddings_folder)
    elif runtime.models.embedding is not None:
        names = [runtime.models.embedding.file.name]
    return json_answer({"object": "list", "data": [model_card(name) for name in names]})


async def load(_: Request, body: EmbeddingLoadRequest, runtime: Runtime) -> ASGIApp:
    """`POST /v1/model/embedding/load`: answers when it is loaded."""
    name = body.embedding_model_name
    if not name:
        raise HTTPError(400, "A model name was not provided for load.")
    path = find_gguf(runtime.settings.embeddings_folder, name)
    if path is None:
        raise HTTPError(
            400, "Could not find the embedding model path for load. Check model name or config.yml?"
        )

    async def work() -> None:
        async with runtime.models.changing:
            embedding = runtime.models.embedding
            if embedding and embedding.file.name == name and embedding.engine.failure is None:
                raise HTTPError(400, f'Embeddings model "{name}" is already loaded! Aborting.')
            await runtime.models.load_embedding(path, name)

    try:
        await runtime.background(work())
    except (EngineError, NotAModelError, OSError) as error:
        raise HTTPError(400, str(error)) from None
    done: dict[str, Any] = {"model_type": "embedding_model", "module": 1, "modules": 1}
    return json_answer(done | {"status": "finished"})


async def unload(_: Request, runtime: Runtime) -> ASGIApp:
    """`POST /v1/model/embedding/unload`; its memory is free when this is answered."""
    async with runtime.models.changing:
        runtime.models.require_embedding()
        await runtime.models.unload_embedding()
    return json_answer(None)


_BASE = "/v1/model/embedding"
ROUTES = [
    post(
        "/v1/embeddings",
        embeddings,
        EmbeddingsRequest,
        parity_body=ParityEmbeddingsRequest,
    ),
    get(_BASE, card),
    get(f"{_BASE}/list", listing),
    post(f"{_BASE}/load", load, EmbeddingLoadRequest, access=Access.ADMIN),
    command(f"{_BASE}/unload", unload),
]
