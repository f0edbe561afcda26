"""Images fetched from their addresses, those of this network refused.

Imported when a request holds an address: aiohttp is slow to import, and little used.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from ..errors import HTTPError
from ..settings import Settings

__all__ = ["fetch", "shortened"]

_FETCH_SECONDS = 15
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class _Private(OSError):
    """An address that is not on the public internet."""


def _check(address: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = _inner(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if not (inner or ip).is_global:
        raise _Private(address)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The address of the older kind that one of the newer kind leads to."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


class _PublicResolver(AbstractResolver):
    """Looks names up and refuses private addresses: the very ones that are connected to."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            _check(result["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


async def fetch(url: str, settings: Settings, most: int) -> bytes:
    """The file at this address, of at most so many bytes. Raises `HTTPError` (400)."""
    if settings.image_fetch == "off":
        raise HTTPError(400, "Failed to fetch image: fetching of images is switched off here.")
    options: dict[str, Any] = {}
    try:
        if settings.image_fetch == "public":
            options["resolver"] = _PublicResolver()
            _check_literal(url)
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(**options),
                timeout=aiohttp.ClientTimeout(total=_FETCH_SECONDS),
            ) as session,
            # A redirect could lead anywhere, so none is followed.
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise HTTPError(400, f"Failed to fetch image from {shortened(url)}.")
            data = await answer.content.read(most + 1)
            while data and len(data) <= most:
                more = await answer.content.read(most + 1 - len(data))
                if not more:
                    return data
                data += more
    except _Private:
        raise HTTPError(400, _failed(url, "its address is private")) from None
    except TimeoutError:
        raise HTTPError(400, _failed(url, f"it took more than {_FETCH_SECONDS} s")) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, _Private):
            cause = cause.__cause__ or getattr(cause, "os_error", None)
        reason = "its address is private" if cause else "it cannot be reached"
        raise HTTPError(400, _failed(url, reason)) from None
    raise HTTPError(400, _failed(url, f"it is empty or larger than {most >> 20} MiB"))


def _check_literal(url: str) -> None:
    """Literal addresses are not looked up, so the resolver does not see them."""
    host = URL(url).host or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    _check(host)


def _failed(url: str, reason: str) -> str:
    return f"Failed to fetch image from {shortened(url)}: {reason}."


def shortened(url: str) -> str:
    """An address as a message shows it."""
    return url if len(url) <= 200 else url[:197] + "..."
