"""Images of a chat request: decoded from the request or fetched, checked, and made PNG.

The engine gets nothing but PNG files that we wrote: its own decoder, which would also start a
video player for bytes it does not know, never sees what a client sent.

Bounds: an image has so many bytes and pixels; the images of one request are made smaller until
they share `_REQUEST_PIXELS`; few are decoded at a time, in threads; and what all requests hold is
counted, from here until their answers are over.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import io
import re
import weakref

from PIL import Image, ImageOps

from ..errors import HTTPError, busy
from ..settings import Settings

__all__ = ["PlacedImages", "read_images"]

_DATA = re.compile(r"data:image/[a-zA-Z0-9]+;base64,")
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_MOST_BYTES = 20 * 1024 * 1024
_MOST_PIXELS = 40_000_000
_LONGEST_SIDE = 2048  # more than models look at
_MOST_IMAGES = 64
_REQUEST_PIXELS = 16_000_000  # of all images of a request, as the engine gets them
_MOST_HELD = 512 * 1024 * 1024  # bytes of PNG in base64, of all requests
_DECODING = asyncio.Semaphore(2)  # images at a time: one takes up to 300 MB while it is decoded

_held = 0


class PlacedImages(list[str]):
    """PNG files in base64. As long as the list lives, it counts for the limit of all requests."""

    def add(self, data: str) -> None:
        """Append an image. Raises `HTTPError` (503) if all requests together hold too much."""
        global _held
        if _held + len(data) > _MOST_HELD:
            raise busy("too many large images came at once")
        _held += len(data)
        weakref.finalize(self, _release, len(data))
        self.append(data)


def _release(size: int) -> None:
    global _held
    _held -= size


async def read_images(urls: list[str], settings: Settings) -> PlacedImages:
    """PNG files of these images. Raises `HTTPError` (400) naming what is wrong with one."""
    if len(urls) > _MOST_IMAGES:
        raise HTTPError(400, f"There are {len(urls)} images; this server takes {_MOST_IMAGES}.")
    images = PlacedImages()
    for url in urls:
        images.add(await _read(url, settings, _REQUEST_PIXELS // len(urls)))
    return images


async def _read(url: str, settings: Settings, pixels: int) -> str:
    if url.startswith(("http://", "https://")):
        from .image_fetch import fetch, shortened

        what, data = shortened(url), await fetch(url, settings, _MOST_BYTES)
    elif _DATA.match(url):
        what, data = "base64 image input", await asyncio.to_thread(_decode, url)
    else:
        raise HTTPError(400, "Failed to read base64 image input.")
    try:
        async with _DECODING:
            return await asyncio.to_thread(_png, data, pixels)
    except ValueError as error:
        raise HTTPError(400, f"Failed to read {what}: {error}") from None


def _decode(url: str) -> bytes:
    try:
        return base64.b64decode(url[url.index(",") + 1 :], validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(400, "Failed to read base64 image input: it is not valid base64.") from None


def _png(data: bytes, pixels: int) -> str:
    """The image as PNG in base64, upright, without colours or sizes a model would not see."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                most = f"{_MOST_PIXELS:,} is the most"
                raise ValueError(f"it has {width} x {height} pixels, and {most}")  # noqa: TRY301
            image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            upright = _upright(image).convert("RGBA")
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {_MOST_PIXELS:,} pixels") from None
    except ValueError:
        raise
    except Exception as error:  # Pillow raises nearly everything for a broken file
        raise ValueError(f"it is no image that can be read ({type(error).__name__})") from None
    side = min(_LONGEST_SIDE, int((pixels * _elongation(upright.size)) ** 0.5))
    upright.thumbnail((side, side))
    page = Image.new("RGB", upright.size, "white")
    page.paste(upright, mask=upright.getchannel("A"))
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data turns it; data that is broken turns nothing."""
    with contextlib.suppress(Exception):  # Pillow's reader of EXIF raises nearly everything
        return ImageOps.exif_transpose(image)
    return image


def _elongation(size: tuple[int, int]) -> float:
    """The longer side, in lengths of the shorter one."""
    return max(size) / max(1, min(size))
