"""What the client's key may do: `GET /v1/auth/permission`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .._protocol.call import Call
from .._protocol.decode import Decoder
from ..types.health import AuthPermission
from .caller import AsyncService, Service
from .common import TimeoutLike

__all__ = ["AsyncAuth", "Auth", "Permission"]

Permission: TypeAlias = Literal["api", "admin"]

_decode = Decoder(AuthPermission)


def _permission(body: bytes) -> Permission:
    return _decode(body).permission


def _permission_call(timeout: TimeoutLike) -> Call[Permission]:
    return Call(
        method="GET",
        path="/v1/auth/permission",
        decode=_permission,
        auth="listing",
        timeout=timeout,
    )


class Auth(Service):
    """What the client's key may do. `client.auth`."""

    def permission(self, *, timeout: TimeoutLike = None) -> Permission:
        """What the best of the client's keys may do: "admin" or "api".

        A server without authentication calls everyone an admin.

        Raises:
            AuthenticationError: no key, or a wrong one.
        """
        return self._client.send(_permission_call(timeout))


class AsyncAuth(AsyncService):
    """What the client's key may do. `client.auth` of an `AsyncClient`."""

    async def permission(self, *, timeout: TimeoutLike = None) -> Permission:
        """What the best of the client's keys may do; see `Auth.permission`."""
        return await self._client.send(_permission_call(timeout))
