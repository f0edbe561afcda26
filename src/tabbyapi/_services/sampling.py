"""Sampler overrides: what the server puts in place of the samplers' defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .._protocol.call import Call, encode_body
from .._protocol.decode import Decoder
from .._protocol.requests.services import override_switch_body
from ..types.services import SamplerOverride, SamplerOverrides
from .caller import AsyncService, Service, TimeoutLike, nothing

__all__ = ["AsyncSampling", "OverridesLike", "Sampling", "override_switch_call"]

OverridesLike: TypeAlias = Mapping[str, SamplerOverride | Any]
"""Fields and their overrides: a `SamplerOverride`, a dict like it, or just the value."""

_overrides = Decoder(SamplerOverrides)


def _in_force(body: bytes) -> SamplerOverrides:
    answer = _overrides(body)
    if not answer.overrides:
        answer.selected_preset = None  # unloaded: the server goes on naming the last one
    return answer


def _list_call(timeout: TimeoutLike) -> Call[SamplerOverrides]:
    return Call(
        method="GET",
        path="/v1/sampling/overrides",
        decode=_in_force,
        auth="listing",
        timeout=timeout,
    )


def override_switch_call(
    preset: str | None, overrides: OverridesLike | None, timeout: TimeoutLike
) -> Call[None]:
    """The call that switches overrides.

    Raises:
        ValidationError: both or neither given, an unknown field, a value out of its range.
    """
    return Call(
        method="POST",
        path="/v1/sampling/override/switch",
        body=encode_body(override_switch_body(preset, overrides)),
        decode=nothing,
        auth="admin",
        timeout=timeout,
    )


def _unload_call(timeout: TimeoutLike) -> Call[None]:
    return Call(
        method="POST",
        path="/v1/sampling/override/unload",
        decode=nothing,
        auth="admin",
        timeout=timeout,
    )


class Sampling(Service):
    """Sampler overrides, for all users of the server. `client.sampling`.

    Changes need the admin key.

        client.sampling.switch_override(overrides={"temperature": 0.3})
    """

    def list_overrides(self, *, timeout: TimeoutLike = None) -> SamplerOverrides:
        """List the overrides in force: `GET /v1/sampling/overrides`.

        With the admin key, the names of all presets too.

        `selected_preset` is None when nothing is overridden. After a switch to `overrides=` the
        server goes on naming the preset before: look at `overrides`.
        """
        return self._client.send(_list_call(timeout))

    def switch_override(
        self,
        preset: str | None = None,
        *,
        overrides: OverridesLike | None = None,
        timeout: TimeoutLike = None,
    ) -> None:
        """Replace all overrides by a preset or by those given.

        `POST /v1/sampling/override/switch`.

        Args:
            preset: name of a preset on the server.
            overrides: e.g. `{"temperature": 0.3, "top_k": {"override": 40, "force": True}}`.
                The server would accept anything here; names and values are checked by the
                client. Zero and False cannot be forced: the server would not.
            timeout: limits for this call. Default: the client's.

        Raises:
            ValidationError: refused before sending.
            InvalidRequestError: there is no preset of that name.
        """
        self._client.send(override_switch_call(preset, overrides, timeout))

    def unload_override(self, *, timeout: TimeoutLike = None) -> None:
        """Remove all overrides: `POST /v1/sampling/override/unload`."""
        self._client.send(_unload_call(timeout))


class AsyncSampling(AsyncService):
    """Sampler overrides. `client.sampling` of an `AsyncClient`."""

    async def list_overrides(self, *, timeout: TimeoutLike = None) -> SamplerOverrides:
        """List the overrides in force; see `Sampling.list_overrides`."""
        return await self._client.send(_list_call(timeout))

    async def switch_override(
        self,
        preset: str | None = None,
        *,
        overrides: OverridesLike | None = None,
        timeout: TimeoutLike = None,
    ) -> None:
        """Replace all overrides; see `Sampling.switch_override`."""
        await self._client.send(override_switch_call(preset, overrides, timeout))

    async def unload_override(self, *, timeout: TimeoutLike = None) -> None:
        """Remove all overrides; see `Sampling.unload_override`."""
        await self._client.send(_unload_call(timeout))
