"""Images of a chat request: decoded from the request or fetched, checked, and made PNG.

The engine gets nothing but PNG files that we wrote: its own decoder, which would also start a
video player for bytes it does not know, never sees what a client sent.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import ipaddress
import re
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from PIL import Image, ImageOps

from .answers import Refused
from .settings import Settings

__all__ = ["read_images"]

_DATA = re.compile(r"data:image/[a-zA-Z0-9]+;base64,")
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_MOST_BYTES = 20 * 1024 * 1024
_MOST_PIXELS = 40_000_000
_LONGEST_SIDE = 4096  # more than models look at
_MOST_IMAGES = 64
_FETCH_SECONDS = 15


async def read_images(urls: list[str], settings: Settings) -> list[bytes]:
    """PNG files of these images. Raises `Refused` (400) naming what is wrong with one."""
    if len(urls) > _MOST_IMAGES:
        raise Refused(400, f"There are {len(urls)} images; this server takes {_MOST_IMAGES}.")
    return [await _read(url, settings) for url in urls]


async def _read(url: str, settings: Settings) -> bytes:
    if url.startswith(("http://", "https://")):
        what, data = _shortened(url), await _fetch(url, settings)
    elif _DATA.match(url):
        what, data = "base64 image input", _decode(url)
    else:
        raise Refused(400, "Failed to read base64 image input.")
    try:
        return await asyncio.to_thread(_png, data)
    except ValueError as error:
        raise Refused(400, f"Failed to read {what}: {error}") from None


def _decode(url: str) -> bytes:
    try:
        return base64.b64decode(url[url.index(",") + 1 :], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, "Failed to read base64 image input: it is not valid base64.") from None


def _png(data: bytes) -> bytes:
    """The image as PNG, upright, without colours or sizes a model would not see."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise ValueError(
                    f"it has {width} x {height} pixels, and {_MOST_PIXELS:,} is the most"
                )
            image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {_MOST_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"it is no image that can be read ({type(error).__name__})") from None
    upright.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    page = Image.new("RGB", upright.size, "white")
    page.paste(upright, mask=upright.getchannel("A"))
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1)
    return out.getvalue()


# ------------------------------------------------------------------------------- fetching


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


async def _fetch(url: str, settings: Settings) -> bytes:
    if settings.image_fetch == "off":
        raise Refused(400, "Failed to fetch image: fetching of images is switched off here.")
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
                raise Refused(400, f"Failed to fetch image from {_shortened(url)}.")
            data = await answer.content.read(_MOST_BYTES + 1)
            while data and len(data) <= _MOST_BYTES:
                more = await answer.content.read(_MOST_BYTES + 1 - len(data))
                if not more:
                    return data
                data += more
    except _Private:
        raise Refused(400, _failed(url, "its address is private")) from None
    except TimeoutError:
        raise Refused(400, _failed(url, f"it took more than {_FETCH_SECONDS} s")) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, _Private):
            cause = cause.__cause__ or getattr(cause, "os_error", None)
        reason = "its address is private" if cause else "it cannot be reached"
        raise Refused(400, _failed(url, reason)) from None
    raise Refused(400, _failed(url, f"it is empty or larger than {_MOST_BYTES >> 20} MiB"))


def _check_literal(url: str) -> None:
    """Literal addresses are not looked up, so the resolver does not see them."""
    from yarl import URL

    host = URL(url).host or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    _check(host)


def _failed(url: str, reason: str) -> str:
    return f"Failed to fetch image from {_shortened(url)}: {reason}."


def _shortened(url: str) -> str:
    return url if len(url) <= 200 else url[:197] + "..."
