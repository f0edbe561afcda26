"""Images of a chat request: decoded from the request or fetched, checked, and made PNG.

The engine gets nothing but PNG files that we wrote: its own decoder, which would also start a
video player for bytes it does not know, never sees what a client sent.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import re

from PIL import Image, ImageOps

from ..errors import HTTPError
from ..settings import Settings

__all__ = ["read_images"]

_DATA = re.compile(r"data:image/[a-zA-Z0-9]+;base64,")
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_MOST_BYTES = 20 * 1024 * 1024
_MOST_PIXELS = 40_000_000
_LONGEST_SIDE = 4096  # more than models look at
_MOST_IMAGES = 64


async def read_images(urls: list[str], settings: Settings) -> list[bytes]:
    """PNG files of these images. Raises `HTTPError` (400) naming what is wrong with one."""
    if len(urls) > _MOST_IMAGES:
        raise HTTPError(400, f"There are {len(urls)} images; this server takes {_MOST_IMAGES}.")
    return [await _read(url, settings) for url in urls]


async def _read(url: str, settings: Settings) -> bytes:
    if url.startswith(("http://", "https://")):
        from .image_fetch import fetch, shortened

        what, data = shortened(url), await fetch(url, settings, _MOST_BYTES)
    elif _DATA.match(url):
        what, data = "base64 image input", _decode(url)
    else:
        raise HTTPError(400, "Failed to read base64 image input.")
    try:
        return await asyncio.to_thread(_png, data)
    except ValueError as error:
        raise HTTPError(400, f"Failed to read {what}: {error}") from None


def _decode(url: str) -> bytes:
    try:
        return base64.b64decode(url[url.index(",") + 1 :], validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(400, "Failed to read base64 image input: it is not valid base64.") from None


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
