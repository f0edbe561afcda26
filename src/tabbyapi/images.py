"""Images as parts of a message."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard
from urllib.parse import unquote_to_bytes

from .errors import ValidationError
from .types import ChatImageURL, ChatMessageContent

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageSource", "image"]

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image"
"""URL, path, the bytes of an image file, an open binary file, or a PIL image."""

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # two letters, for C:\ is a path
_DEFAULT_MAX = 20 * 2**20
_LONGEST_NAME = 4096  # characters of a path
_BASE64_HEADS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")  # of PNG, JPEG, GIF and WebP


def image(
    source: ImageSource,
    *,
    max_size: tuple[int, int] | None = None,
    max_bytes: int | None = _DEFAULT_MAX,
) -> ChatMessageContent:
    """An image for a message: `user("What is this?", image("cat.jpg"))`.

    Everything but an http(s) URL is sent inside the request, as a `data:` URL whose media type
    is read from the content. An http(s) URL is sent as it is and fetched by the *server*.
    Images for a model without vision are refused by `chat.create`, see `check_vision`.

    Args:
        source: an http(s) or `data:` URL, a path, base64 text, the bytes of an image file, a file
            open for reading in binary, or a PIL image. PNG, JPEG, GIF, WebP or BMP. A photo that
            is stored lying on its side is turned upright, where Pillow is installed.
        max_size: width and height in pixels that the image is scaled down to fit into, its
            proportions kept; smaller ones stay as they are. Needs Pillow.
        max_bytes: largest image to send, in bytes before base64, which adds a third; None for
            no limit. Default 20 MiB.

    Raises:
        ValidationError: no image of these kinds, too large, or not readable.
        FileNotFoundError: there is no such file; other `OSError`s of reading it likewise.
    """
    if isinstance(source, str) and source[:8].lower().startswith(("http://", "https://")):
        if max_size is not None:
            raise _refused(
                "max_size cannot be applied to an image that the server fetches: download it, "
                "or leave max_size out"
            )
        return _part(source)
    if max_size is not None and (len(max_size) != 2 or min(max_size) < 1):
        raise _refused(f"max_size must be a width and a height in pixels, not {max_size!r}")
    if _is_pil(source):
        data = _of_pil(source, max_size)
    else:
        data = _bytes_of(source, max_bytes if max_size is None else None)
        if max_size is not None:
            _checked_kind(data, source)
            data = _scaled_file(data, max_size)
        else:
            data = _upright(data)
    kind = _checked_kind(data, source)
    _check_size(len(data), max_bytes)
    return _part(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}")


def _part(url: str) -> ChatMessageContent:
    return ChatMessageContent(type="image_url", image_url=ChatImageURL(url))


def _refused(message: str) -> ValidationError:
    return ValidationError(message, field="image")


def _check_size(size: int, allowed: int | None) -> None:
    if allowed is not None and size > allowed:
        raise _refused(
            f"the image has {size:,} bytes, more than max_bytes={allowed:,}: scale it down with "
            "max_size=(width, height), or raise max_bytes"
        )


# ------------------------------------------------------------------------ to bytes


def _bytes_of(source: Any, max_bytes: int | None) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str):
        if not source.strip():
            raise _refused("the image's source is empty")
        if data_url := _DATA_URL.match(source):
            return _of_data_url(source, data_url)
        if _URL.match(source):
            raise _refused(
                f"{_short(source)} is neither an http(s) or data: URL nor a path of a file"
            )
        if len(source) > _LONGEST_NAME or source.startswith(_BASE64_HEADS):
            return _of_base64(source)
    if isinstance(source, str | os.PathLike):
        return _of_file(Path(source), max_bytes)
    read = getattr(source, "read", None)
    if read is None:
        raise _refused(
            f"an image is a URL, a path, bytes, a binary file or a PIL image, not {_short(source)}"
        )
    data = read() if max_bytes is None else read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise _refused('the file is open for text: open it with mode "rb"')
    return data


def _of_file(path: Path, max_bytes: int | None) -> bytes:
    with path.open("rb") as file:
        head = file.read(64)
        # A film or a disk image is refused by its first bytes, not after it has been read.
        _checked_kind(head, path)
        _check_size(os.fstat(file.fileno()).st_size, max_bytes)
        return head + file.read()


def _of_data_url(url: str, match: re.Match[str]) -> bytes:
    payload = url[match.end() :]
    if not match[2].lower().endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(f"the data: URL holds no valid base64: {error}") from error


def _of_base64(text: str) -> bytes:
    """The bytes of bare base64 text, or of the file that has such a name after all."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if _kind(data) is not None:
        return data
    if len(text) <= _LONGEST_NAME:
        return _of_file(Path(text), None)
    raise _refused(f"{_short(text)} is neither a path of a file nor the base64 of an image")


def _checked_kind(data: bytes, source: Any) -> str:
    kind = _kind(data)
    if kind is not None:
        return kind
    where = "the data" if isinstance(source, bytes | bytearray | memoryview) else _short(source)
    if not data:
        raise _refused(f"{where} is empty")
    if re.match(rb"\s*(<\?xml|<!--|<svg|<!DOCTYPE svg)", data[:256].lstrip(b"\xef\xbb\xbf"), re.I):
        raise _refused(
            f"{where} is an SVG or other XML, which servers cannot read: convert it to PNG"
        )
    raise _refused(
        f"{where} is no PNG, JPEG, GIF, WebP or BMP image (it begins with {data[:8]!r}): servers "
        "fail on anything else. Pillow can convert many formats: image(PIL.Image.open(...))"
    )


def _kind(data: bytes) -> str | None:
    """Media subtype by the first bytes, None if it is none of ours."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    # "BM" begins many texts too: the size of a known header follows at 14.
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "bmp"
    return None


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}


def _short(value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        value = str(value)[:200]
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


# ---------------------------------------------------------------------------- PIL


def _is_pil(source: Any) -> TypeGuard[Image]:
    module = sys.modules.get("PIL.Image")  # imported already by code that has such an image
    return module is not None and isinstance(source, module.Image)


def _upright(data: bytes) -> bytes:
    """A photo as it is to be seen: servers ignore the note that says how it was held."""
    if not data.startswith(b"\xff\xd8\xff") or b"Exif\0\0" not in data[:65536]:
        return data
    try:
        from PIL import Image
    except ImportError:
        return data
    try:
        with Image.open(io.BytesIO(data)) as opened:
            turned = opened.getexif().get(0x0112, 1) != 1
            return _of_pil(opened, None) if turned else data
    except Exception:  # whatever a damaged note makes Pillow raise: the server may cope
        return data


def _scaled_file(data: bytes, max_size: tuple[int, int]) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise _refused(
            "max_size needs Pillow to scale images: pip install pillow, or leave max_size out"
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            # A photo lying on its side may be as wide as it should be high: both must fit.
            if max(opened.size) <= min(max_size):
                return data
            return _of_pil(opened, max_size)
    except ValidationError:
        raise
    except Exception as error:  # Pillow raises all kinds for damaged files
        raise _refused(f"the image cannot be read, so it cannot be scaled: {error}") from error


def _of_pil(picture: Image, max_size: tuple[int, int] | None) -> bytes:
    """The bytes of a file: JPEG where it was one, PNG (without loss) otherwise."""
    from PIL import ImageOps

    # A photo may be stored lying on its side; the note that says so is not kept here.
    out = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(picture)
        if max_size is not None:
            upright.thumbnail(max_size)
        if picture.format in ("JPEG", "MPO"):
            upright.convert("RGB").save(out, "JPEG", quality=90)
            return out.getvalue()
        if upright.mode not in _PNG_MODES:
            alpha = {"A", "a"} & {*upright.getbands()}
            upright = upright.convert(_CONVERTED.get(upright.mode) or ("RGBA" if alpha else "RGB"))
        upright.save(out, "PNG")
    except (ValueError, OSError, TypeError, SyntaxError, ArithmeticError) as error:
        raise _refused(
            f"the image, of PIL mode {picture.mode}, cannot be read or made a PNG ({error}): try "
            'picture.convert("RGB")'
        ) from error
    return out.getvalue()


_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_CONVERTED = {"I": "I;16", "F": "L", "La": "LA", "I;16B": "I;16", "I;16L": "I;16"}
