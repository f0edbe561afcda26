"""Which transport a client gets: one over connections of its own, unless something speaks for
another. Each is imported when it is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ValidationError
from .base import proxy_for

if TYPE_CHECKING:
    from .base import AsyncTransport, Transport

__all__ = ["async_transport_for", "transport_for"]


def transport_for(base_url: str, given: Any) -> Transport:
    """The transport to a server.

    Args:
        base_url: its root.
        given: None, a `urllib3.PoolManager`, or an object with the three verbs of `Transport`.

    Raises:
        ValidationError: it is none of these.
    """
    if _is_transport(given):
        transport: Transport = given
        return transport
    proxy = proxy_for(base_url) if given is None else None
    if given is None and proxy is None:
        from .sync import SocketTransport

        return SocketTransport(base_url)
    from .managed import ManagedTransport

    if proxy is not None:
        return ManagedTransport.through(proxy)
    if not hasattr(given, "connection_from_url"):
        raise _neither(given, "urllib3.PoolManager")
    return ManagedTransport(given)


def async_transport_for(base_url: str, given: Any) -> AsyncTransport:
    """`transport_for`, for asyncio; `given` may be an `aiohttp.ClientSession`."""
    if _is_transport(given):
        transport: AsyncTransport = given
        return transport
    proxy = proxy_for(base_url)
    if given is None and proxy is None:
        from .aio import AsyncSocketTransport

        return AsyncSocketTransport(base_url)
    from .managed_aio import AsyncManagedTransport

    if given is not None and not hasattr(given, "request"):
        raise _neither(given, "aiohttp.ClientSession")
    return AsyncManagedTransport(given, proxy=proxy)


def _is_transport(given: Any) -> bool:
    return hasattr(given, "send") and hasattr(given, "open")


def _neither(given: object, expected: str) -> ValidationError:
    return ValidationError(
        f"http_client must be a {expected} or have send, open and close, not "
        f"{type(given).__name__}",
        field="http_client",
    )
