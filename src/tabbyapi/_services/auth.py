"""What the client's key may do: `GET /v1/auth/permission`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .._protocol.call import Call
from .._protocol.decode import Decoder
from ..types.services import AuthPermission
from .caller import AsyncService, Service, TimeoutLike

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
    """Permissions of the client's keys. `client.auth`.

    if client.auth.permission() == "admin":
        client.models.load("name")
    """

    def permission(self, *, timeout: TimeoutLike = None) -> Permission:
        """Ask what the best of the client's keys may do: `GET /v1/auth/permission`.

        Returns:
            "admin" or "api"; "admin" for any client of a server without authentication.

        Raises:
            AuthenticationError: no key, or a wrong one.
        """
        return self._client.send(_permission_call(timeout))


class AsyncAuth(AsyncService):
    """Permissions of the client's keys. `client.auth` of an `AsyncClient`."""

    async def permission(self, *, timeout: TimeoutLike = None) -> Permission:
        """Ask what the best of the client's keys may do; see `Auth.permission`."""
        return await self._client.send(_permission_call(timeout))
