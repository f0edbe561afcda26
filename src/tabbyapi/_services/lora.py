"""LoRA adapters, which change a model's behaviour without replacing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, Unpack

from .._protocol.call import Call, encode_body
from .._protocol.decode import Decoder
from .._protocol.requests.rules import body_of
from .._protocol.requests.services import lora_list
from ..errors import InvalidRequestError
from ..types.params import LoraParams
from ..types.services import LoraCard, LoraList, LoraLoadResponse, LoraScaling
from .caller import AsyncService, Service, TimeoutLike, nothing

__all__ = ["AsyncLora", "Lora", "LorasLike", "lora_load_call"]

LorasLike: TypeAlias = str | Mapping[str, float] | Sequence[str | LoraScaling | Mapping[str, Any]]
"""A name, a dict of names and scalings, or a list of names or `LoraScaling`s."""

Cards: TypeAlias = list[LoraCard]  # inside the classes, `list` is a method

_LOAD = "/v1/lora/load"
_list = Decoder(LoraList)
_loaded = Decoder(LoraLoadResponse)


def _cards(body: bytes) -> list[LoraCard]:
    return _list(body).data


def _load_answer(body: bytes) -> LoraLoadResponse:
    """The answer, whose failures come under status 200."""
    answer = _loaded(body)
    if not answer.failure:
        return answer
    done = f"; loaded: {', '.join(answer.success)}" if answer.success else ""
    raise InvalidRequestError(
        f"the server did not load these adapters: {', '.join(answer.failure)}{done}",
        status_code=200,
        hint="client.lora.list() names those it has; TabbyAPI's current engine has no support "
        "for LoRA and loads none",
        method="POST",
        url=_LOAD,
    )


def _lists(path: str, timeout: TimeoutLike, *, all_of_them: bool) -> Call[list[LoraCard]]:
    return Call(
        method="GET",
        path=path,
        decode=_cards,
        auth="listing" if all_of_them else "api",
        timeout=timeout,
    )


def lora_load_call(loras: LorasLike, params: Mapping[str, Any]) -> Call[LoraLoadResponse]:
    """The call that loads adapters.

    Raises:
        ValidationError: no adapter, one twice, or a scaling that is no number.
    """
    return Call(
        method="POST",
        path=_LOAD,
        body=encode_body(body_of({"loras": lora_list(loras)}, params, LoraParams)),
        decode=_load_answer,
        auth="admin",
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
        patient=True,
    )


def _unload_call(timeout: TimeoutLike) -> Call[None]:
    return Call(
        method="POST",
        path="/v1/lora/unload",
        decode=nothing,
        auth="admin",
        timeout=timeout,
        patient=True,
    )


class Lora(Service):
    """LoRA adapters of the loaded model. `client.lora`. Loading needs the admin key.

        client.lora.load({"style": 0.5})

    TabbyAPI's current engine has no support for LoRA: there, `load` always fails. The local
    server loads adapters in GGUF format.
    """

    def list(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the adapters: `GET /v1/loras`. All of them with the admin key, else the active."""
        return self._client.send(_lists("/v1/loras", timeout, all_of_them=True))

    def active(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the adapters in use, with their `scaling`: `GET /v1/lora`.

        Raises:
            ModelNotLoadedError: no model is loaded.
        """
        return self._client.send(_lists("/v1/lora", timeout, all_of_them=False))

    def load(self, loras: LorasLike, **params: Unpack[LoraParams]) -> LoraLoadResponse:
        """Load adapters, in place of those in use: `POST /v1/lora/load`.

        Args:
            loras: `"name"`, `["a", "b"]`, or with scalings `{"a": 0.5, "b": 1.0}`.
            params: see `LoraParams`.

        Raises:
            ValidationError: refused before sending.
            InvalidRequestError: some were not loaded (the server says so under status 200).
            ModelNotLoadedError: no model is loaded.
        """
        return self._client.send(lora_load_call(loras, params))

    def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload all adapters: `POST /v1/lora/unload`.

        Raises:
            ModelNotLoadedError: no model is loaded.
        """
        self._client.send(_unload_call(timeout))


class AsyncLora(AsyncService):
    """LoRA adapters of the loaded model. `client.lora` of an `AsyncClient`."""

    async def list(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the adapters; see `Lora.list`."""
        return await self._client.send(_lists("/v1/loras", timeout, all_of_them=True))

    async def active(self, *, timeout: TimeoutLike = None) -> Cards:
        """List the adapters in use; see `Lora.active`."""
        return await self._client.send(_lists("/v1/lora", timeout, all_of_them=False))

    async def load(self, loras: LorasLike, **params: Unpack[LoraParams]) -> LoraLoadResponse:
        """Load adapters; see `Lora.load`."""
        return await self._client.send(lora_load_call(loras, params))

    async def unload(self, *, timeout: TimeoutLike = None) -> None:
        """Unload all adapters; see `Lora.unload`."""
        await self._client.send(_unload_call(timeout))
