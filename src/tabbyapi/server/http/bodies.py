"""Request bodies: read within limits of size and time, and decoded within limits of shape."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from ..errors import HTTPError, busy, validation_refused
from ..settings import Settings

__all__ = ["MISSING", "Bodies", "located", "read_json"]

MISSING: Any = object()
"""What is read where there is no body."""

_STRANGERS_BYTES = 64 * 1024  # what is read before the key is looked at
_SLOWEST = 64 * 1024  # bytes per second
_CLOSE = {"connection": "close"}  # the rest of a refused body would be taken for a request


class Bodies:
    """What the bodies of all requests that are being dealt with come to."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that counts bytes of one body, or raises `HTTPError` (503)."""
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if self._held + size > self._most:
                raise busy("too many large requests came at once", _CLOSE)
            own += size
            self._held += size

        try:
            yield add
        finally:
            self._held -= own


def located(errors: list[dict[str, Any]]) -> HTTPError:
    """The refusal (422) of these errors, whose places are inside the body."""
    return validation_refused([e | {"loc": ["body", *e["loc"]]} for e in errors])


async def read_json(
    request: Request,
    settings: Settings,
    authorize: Callable[[], None],
    hold: Callable[[int], None],
) -> Any:
    """The body as JSON has it.

    `authorize` raises for those without a key; it is called before a body of any size is read.
    `hold` is told how many bytes have come, and raises if there is no room for them.
    Raises `HTTPError`: 400 (unreadable), 408 (too slow), 413 (too large), 422 (no JSON).
    """
    raw = await _read(request, settings, authorize, hold)
    if not raw:
        return MISSING
    raw = _decoded(raw, request.headers.get("content-encoding", ""), settings, hold)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or (kind.startswith("application/") and "+json" in kind)):
        # Taken for a string, which no route wants: the answer says what was read.
        return raw.decode(errors="replace")
    try:
        # Decoded here: json would take UTF-16, and halves of characters, for text.
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number)
        _check_text(value, raw)
        _check_shape(value, raw, settings)
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": [error.pos], "msg": "JSON decode error"}
        raise located([problem | {"input": {}, "ctx": {"error": error.msg}}]) from None
    except UnicodeError:
        raise HTTPError(400, "The body is not valid UTF-8, or holds half a character.") from None
    except RecursionError:
        raise HTTPError(400, "The body is nested too deeply.") from None
    except ValueError as error:  # a number with thousands of digits
        raise HTTPError(400, f"The body cannot be read: {error}") from None
    return value


async def _read(
    request: Request,
    settings: Settings,
    authorize: Callable[[], None],
    hold: Callable[[int], None],
) -> bytes:
    parts: list[bytes] = []
    size, most = 0, settings.max_body_bytes
    clock = asyncio.get_running_loop().time
    begin = clock()
    length = request.headers.get("content-length", "")
    declared = int(length) if length.isdecimal() else 0
    if declared > _STRANGERS_BYTES:
        authorize()
    if declared > 4 * most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(settings.body_timeout) as limit:
            async for part in request.stream():
                authorized = size > _STRANGERS_BYTES
                size += len(part)
                if size > _STRANGERS_BYTES and not authorized:
                    authorize()
                limit.reschedule(begin + settings.body_timeout + size / _SLOWEST)
                if size <= most:
                    hold(len(part))
                    parts.append(part)
                elif size > 4 * most:
                    break  # read so far only because clients look for an answer at the end
    except TimeoutError:
        raise HTTPError(408, "The body did not arrive in time.", headers=_CLOSE) from None
    if size > most:
        raise _too_large(most)
    return b"".join(parts)


def _decoded(raw: bytes, encoding: str, settings: Settings, hold: Callable[[int], None]) -> bytes:
    """The body without its content encoding: gzip, deflate or none."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HTTPError(415, f"The body's encoding {encoding!r} is not read here: send it plain.")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # reads the headers of both
    try:
        data = unpacker.decompress(raw, settings.max_body_bytes + 1)
    except zlib.error:
        raise HTTPError(400, f"The body is not valid {encoding}.") from None
    if len(data) > settings.max_body_bytes:
        raise _too_large(settings.max_body_bytes)
    if not unpacker.eof:
        raise HTTPError(400, f"The body is not valid {encoding}: it is cut off.")
    hold(len(data))
    return data


def _too_large(most: int) -> HTTPError:
    return HTTPError(413, f"The body is larger than {most} bytes.", headers=_CLOSE)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check_text(value: Any, raw: bytes) -> None:
    """Refuse lone surrogates, which are no text."""
    if b"\\ud" in raw or b"\\uD" in raw:
        json.dumps(value, ensure_ascii=False).encode()


def _check_shape(value: Any, raw: bytes, settings: Settings) -> None:
    """Refuse what takes long to validate: deep nesting, and millions of members."""
    if (
        raw.count(b"[") + raw.count(b"{") <= settings.max_json_depth
        and raw.count(b",") < settings.max_json_items
    ):
        return
    level, depth, items = [value], 0, 0
    while level := [node for node in level if isinstance(node, (dict, list))]:
        depth += 1
        if depth > settings.max_json_depth:
            raise RecursionError
        items += sum(map(len, level))
        if items > settings.max_json_items:
            most = f"{settings.max_json_items:,}"
            raise HTTPError(413, f"The body has more than {most} members of objects and lists.")
        level = [
            child for node in level for child in (node.values() if isinstance(node, dict) else node)
        ]
