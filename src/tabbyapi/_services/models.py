"""Models: what there is, what is loaded, loading, unloading and downloading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from .._protocol.assembly.load import load_stream_decoder
from .._protocol.call import Auth, Call, StreamCall, encode_body
from .._protocol.decode import Decoder, JSONError
from .._protocol.requests.services import download_body, load_body, load_embedding_body
from ..types.models import DownloadResponse, LoadProgress, ModelCard, ModelList, ServerProps
from ..types.params import DownloadParams, LoadEmbeddingParams, LoadParams
from .caller import AsyncService, Service, TimeoutLike, nothing

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream

__all__ = ["AsyncModels", "Models"]

Cards: TypeAlias = list[ModelCard]  # inside the classes, `list` is a method

_card = Decoder(ModelCard)
_props = Decoder(ServerProps)
_step = Decoder(LoadProgress)
_list = Decoder(ModelList)
_download = Decoder(DownloadResponse)


def _cards(body: bytes) -> Cards:
    return _list(body).data


def _path(body: bytes) -> str:
    return _download(body).download_path


def _progress(body: bytes) -> LoadProgress:
    """The last step of a load; YALS answers with an empty body once the model is there."""
    if not body.strip():
        return LoadProgress("model", 1, 1, "finished")
    step = _step(body)
    if not step.complete:
        raise JSONError("the load is not finished")
    return step


def _same(step: LoadProgress) -> LoadProgress:
    return step


def list_call(path: str, timeout: TimeoutLike) -> Call[list[ModelCard]]:
    """The call for a list of models."""
    return _get(path, _cards, timeout, "listing")


def card_call(path: str, timeout: TimeoutLike) -> Call[ModelCard]:
    """The call for a loaded model's card."""
    return _get(path, _card, timeout, "api")


def props_call(timeout: TimeoutLike) -> Call[ServerProps]:
    """The call for `GET /props`."""
    return _get("/props", _props, timeout, "api")


def _get(path: str, decode: Callable[[bytes], Any], timeout: TimeoutLike, auth: Auth) -> Call[Any]:
    return Call(method="GET", path=path, decode=decode, auth=auth, timeout=timeout)


def load_call(model_name: str, params: Mapping[str, Any]) -> StreamCall[LoadProgress, LoadProgress]:
    """The call that loads a model; its answer is always a stream.

    Raises:
        ValidationError: no name, or a parameter out of its range.
    """
    return StreamCall(
        method="POST",
        path="/v1/model/load",
        body=encode_body(load_body(model_name, params)),
        decode=_progress,
        decoder=load_stream_decoder,
        as_chunk=_same,
        auth="admin",
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def load_embedding_call(model_name: str, params: Mapping[str, Any]) -> Call[LoadProgress]:
    """The call that loads an embedding model; its answer is plain JSON."""
    return Call(
        method="POST",
        path="/v1/model/embedding/load",
        body=encode_body(load_embedding_body(model_name, params)),
        decode=_progress,
        auth="admin",
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
        patient=True,
    )


def unload_call(path: str, timeout: TimeoutLike) -> Call[None]:
    """The call that unloads a model."""
    return Call(method="POST", path=path, decode=nothing, auth="admin", timeout=timeout)


def download_call(repo_id: str, params: Mapping[str, Any]) -> Call[str]:
    """The call that downloads a repository.

    Raises:
        ValidationError: no repository, or a parameter that cannot be sent.
    """
    return Call(
        method="POST",
        path="/v1/download",
        body=encode_body(download_body(repo_id, params)),
        decode=_path,
        auth="admin",
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
        patient=True,
    )


class Models(Service):
    """Models: listing, loading, unloading, downloading. `client.models`.

    Methods that change the server need the admin key.

        client.models.load("Qwen3-8B-exl3", max_seq_len=16384, cache_mode="Q8")
        print(client.models.get().parameters)
    """

    def list(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the models: `GET /v1/models`. All with the admin key, else the loaded one or none.

        Dummy names from the server's configuration come first. Which model is loaded, only `get`
        tells.
        """
        return self._client.send(list_call("/v1/models", timeout))

    def get(self, *, timeout: TimeoutLike = None) -> ModelCard:
        """Get the loaded model, with its `parameters`: `GET /v1/model`.

        Raises:
            ModelNotLoadedError: none is loaded.
        """
        return self._client.send(card_call("/v1/model", timeout))

    def props(self, *, timeout: TimeoutLike = None) -> ServerProps:
        """Get slots, chat template and context length of the loaded model: `GET /props`.

        Raises:
            ModelNotLoadedError: none is loaded.
        """
        return self._client.send(props_call(timeout))

    def load(self, model_name: str, **params: Unpack[LoadParams]) -> LoadProgress:
        """Load a model in place of the loaded one, and wait for it: `POST /v1/model/load`.

        The server first lets running requests finish. If the model is loaded already, this
        returns at once. There is no way to stop a load: leaving does not.

        Args:
            model_name: one of `list()`.
            params: see `LoadParams`.

        Returns:
            The last step, whose `complete` is True.

        Raises:
            ValidationError: refused before sending.
            InvalidRequestError: there is no such model; the loaded one stays.
            StreamError: loading failed. The model that was loaded before is gone then.
            PermissionDeniedError: this needs the admin key.
        """
        with self.load_stream(model_name, **params) as stream:
            return stream.until_done()

    def load_stream(
        self, model_name: str, **params: Unpack[LoadParams]
    ) -> Stream[LoadProgress, LoadProgress]:
        """`load`, step by step. Use it in a `with` block; the errors are those of `load`.

        A model may come in parts (draft, vision, model), each with steps from 1 to `modules`
        and a "finished" of its own; the load is done when the stream ends without an error.
        """
        return self._client.open_stream(load_call(model_name, params))

    def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the model at once: `POST /v1/model/unload`.

        Running requests are cut short: plain ones return what they have, with an `eos_reason`
        of None; streams fall silent until their `timeout.idle`.

        Raises:
            ModelNotLoadedError: none is loaded.
        """
        self._client.send(unload_call("/v1/model/unload", timeout))

    def list_draft(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the draft models, as `list` does: `GET /v1/model/draft/list`."""
        return self._client.send(list_call("/v1/model/draft/list", timeout))

    def list_embedding(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the embedding models: `GET /v1/model/embedding/list`."""
        return self._client.send(list_call("/v1/model/embedding/list", timeout))

    def get_embedding(self, *, timeout: TimeoutLike = None) -> ModelCard:
        """Get the loaded embedding model: `GET /v1/model/embedding`.

        Raises:
            ModelNotLoadedError: none is loaded.
        """
        return self._client.send(card_call("/v1/model/embedding", timeout))

    def load_embedding(
        self, model_name: str, **params: Unpack[LoadEmbeddingParams]
    ) -> LoadProgress:
        """Load an embedding model, beside the other one: `POST /v1/model/embedding/load`.

        Raises:
            InvalidRequestError: there is no such model, it is loaded already, or the server was
                installed without support for embeddings.
        """
        return self._client.send(load_embedding_call(model_name, params))

    def unload_embedding(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the embedding model: `POST /v1/model/embedding/unload`.

        Raises:
            ModelNotLoadedError: none is loaded.
        """
        self._client.send(unload_call("/v1/model/embedding/unload", timeout))

    def download(self, repo_id: str, **params: Unpack[DownloadParams]) -> str:
        """Make the server download a repository, and wait for it: `POST /v1/download`.

        The server says nothing meanwhile. Leaving stops the download and removes its files.

        Args:
            repo_id: "owner/name".
            params: see `DownloadParams`.

        Returns:
            The folder on the server.

        Raises:
            InvalidRequestError: the download failed, in the server's words.
        """
        return self._client.send(download_call(repo_id, params))


class AsyncModels(AsyncService):
    """Models. `client.models` of an `AsyncClient`."""

    async def list(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the models; see `Models.list`."""
        return await self._client.send(list_call("/v1/models", timeout))

    async def get(self, *, timeout: TimeoutLike = None) -> ModelCard:
        """The loaded model; see `Models.get`."""
        return await self._client.send(card_call("/v1/model", timeout))

    async def props(self, *, timeout: TimeoutLike = None) -> ServerProps:
        """Slots, chat template and context length; see `Models.props`."""
        return await self._client.send(props_call(timeout))

    async def load(self, model_name: str, **params: Unpack[LoadParams]) -> LoadProgress:
        """Load a model and wait for it; see `Models.load`."""
        async with self.load_stream(model_name, **params) as stream:
            return await stream.until_done()

    def load_stream(
        self, model_name: str, **params: Unpack[LoadParams]
    ) -> AsyncStream[LoadProgress, LoadProgress]:
        """`load`, step by step; see `Models.load_stream`. Use it in an `async with` block."""
        return self._client.open_stream(load_call(model_name, params))

    async def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the model at once; see `Models.unload`."""
        await self._client.send(unload_call("/v1/model/unload", timeout))

    async def list_draft(self, *, timeout: TimeoutLike = None) -> Cards:
        """As `list`, for draft models."""
        return await self._client.send(list_call("/v1/model/draft/list", timeout))

    async def list_embedding(self, *, timeout: TimeoutLike = None) -> Cards:
        """As `list`, for embedding models."""
        return await self._client.send(list_call("/v1/model/embedding/list", timeout))

    async def get_embedding(self, *, timeout: TimeoutLike = None) -> ModelCard:
        """The loaded embedding model; see `Models.get_embedding`."""
        return await self._client.send(card_call("/v1/model/embedding", timeout))

    async def load_embedding(
        self, model_name: str, **params: Unpack[LoadEmbeddingParams]
    ) -> LoadProgress:
        """Load an embedding model beside the other one; see `Models.load_embedding`."""
        return await self._client.send(load_embedding_call(model_name, params))

    async def unload_embedding(self, *, timeout: TimeoutLike = None) -> None:
        """Unload the embedding model; see `Models.unload_embedding`."""
        await self._client.send(unload_call("/v1/model/embedding/unload", timeout))

    async def download(self, repo_id: str, **params: Unpack[DownloadParams]) -> str:
        """Make the server download a repository; see `Models.download`."""
        return await self._client.send(download_call(repo_id, params))
