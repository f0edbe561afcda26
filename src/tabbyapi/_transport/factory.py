"""Which transport a client gets: its own over sockets, or the one it is given.

Each is imported when it is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ValidationError

if TYPE_CHECKING:
    from .base import AsyncTransport, Transport
    from .connect import Route

__all__ = ["async_transport_for", "transport_for"]


def transport_for(base_url: str, given: object | None, **connection: Any) -> Transport:
    """The transport to a server.

    Args:
        base_url: its root.
        given: None, or a `Transport`.
        connection: arguments of `Route`, for connections of its own.

    Raises:
        ValidationError: an argument that cannot be used.
    """
    if given is not None:
        from .base import Transport

        _check(given, Transport, connection)
        return given  # type: ignore[return-value]
    from .sync import SocketTransport

    return SocketTransport(_route(base_url, connection))


def async_transport_for(base_url: str, given: object | None, **connection: Any) -> AsyncTransport:
    """`transport_for`, for asyncio."""
    if given is not None:
        from .base import AsyncTransport

        _check(given, AsyncTransport, connection)
        return given  # type: ignore[return-value]
    from .aio import AsyncSocketTransport

    return AsyncSocketTransport(_route(base_url, connection))


def _route(base_url: str, connection: dict[str, Any]) -> Route:
    from .connect import Route

    return Route(base_url, **connection)


def _check(given: object, kind: Any, connection: dict[str, Any]) -> None:
    """Refuse what has not the three verbs, and options that it would not heed."""
    from inspect import iscoroutinefunction

    waits = kind.__name__.startswith("Async")
    if (
        not isinstance(given, kind)
        or isinstance(given, type)
        or iscoroutinefunction(given.send) is not waits
    ):
        raise ValidationError(
            f"transport must be {'an AsyncTransport' if waits else 'a Transport'} (see "
            f"tabbyapi.testing), an object with {'async ' if waits else ''}send, open and close, "
            f"not {given!r}",
            field="transport",
        )
    for name, value in connection.items():
        if value is not None and value is not True:
            raise ValidationError(
                f"{name} has no effect beside transport=, which makes connections of its own; set "
                "it up there",
                field=name,
            )
