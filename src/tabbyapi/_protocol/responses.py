"""Read answers: into a result, or into one of the errors of errors.py.

TabbyAPI has four shapes of error body (a string detail, a list of field errors, an OpenAI-style
object, and plain text under 500); proxies and other servers add HTML and nothing at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from time import time
from typing import Any, TypeVar

import msgspec

from ..errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotLoadedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestError,
    ServerError,
)
from .call import Call
from .decode import JSONError, decode_json

__all__ = ["ReportedError", "decode_answer", "error_of_answer", "read_error"]

T = TypeVar("T")

_SHOWN = 2000  # characters of a body kept on an error
_LINES = 20  # field errors shown
_MAY_BE_ASKED_AGAIN = (429, 502, 503, 504)


def decode_answer(call: Call[T], url: str, status: int, content_type: str, body: bytes) -> T:
    """The result of a successful answer.

    Raises:
        APIError: an error that came under a good status.
        RequestError: the answer is not what TabbyAPI sends here.
    """
    try:
        return call.decode(body)
    except ValueError as error:
        if read_error(body) is not None:
            kind = {"content-type": content_type}
            raise error_of_answer(call, url, status, kind, body) from None
        raise RequestError(
            f"{call.method} {url} answered {status}, but not in TabbyAPI's protocol: "
            f"{_described(content_type, body)} ({error}). Is this really a TabbyAPI server?",
            answered=True,
        ) from None


def error_of_answer(
    call: Call[Any], url: str, status: int, headers: Mapping[str, str], body: bytes
) -> APIError:
    """The error that an answer with this status stands for. `headers` has lower-case names."""
    found = read_error(body) or ReportedError()
    message, details = found.message, found.details
    content_type = headers.get("content-type", "")
    text = body[: _SHOWN * 4].decode("utf-8", "replace")[:_SHOWN]
    error, hint = _kind(status, message or "", found.code, call)
    if message is None:
        message = "" if status == 500 and text == "Internal Server Error" else text.strip()
        if "json" not in content_type and not (status == 500 and content_type.startswith("text/p")):
            message = _described(content_type, body)
            if status not in (429, 502, 503, 504):
                hint = "this does not look like a TabbyAPI server; check the address"
    if 300 <= status < 400:
        hint = (
            f"the server redirects to {headers.get('location', 'another address')}; redirects are "
            "not followed, because that would carry the key elsewhere. Use the final address"
        )
    message = _cut(message or "") or "(no reason given)"
    if len(details) > _LINES:
        details = [*details[:_LINES], f"... and {len(details) - _LINES:,} more"]
    facts: dict[str, Any] = {
        "status_code": status,
        "hint": hint,
        "details": [_cut(line) for line in details],
        "body": text,
        "method": call.method,
        "url": url,
    }
    if status in _MAY_BE_ASKED_AGAIN:
        facts["retry_after"] = _retry_after(headers)
    return error(message, **facts)


def _kind(
    status: int, message: str, code: str | None, call: Call[Any]
) -> tuple[type[APIError], str]:
    """Class of the error, and what to do about it."""
    if code == "context_length_exceeded":
        return ContextLengthError, "shorten the conversation, or ask for fewer max_tokens"
    if status == 401:
        if call.auth == "admin" or "admin key" in message:
            return PermissionDeniedError, "this needs the server's admin key: pass admin_key=..."
        return AuthenticationError, "pass the server's API key: api_key=..., or set TABBY_API_KEY"
    if status == 403:
        return PermissionDeniedError, ""
    if status == 404:
        return NotFoundError, "does base_url point at the root of a TabbyAPI server?"
    if status in (400, 405, 409, 413, 415, 422):
        hint = ""
        if "Enable the OAI server" in message:  # though chat works
            hint = 'the server counts messages only if its config.yml says api_servers: ["OAI"]'
        return InvalidRequestError, hint
    if status == 429:
        return RateLimitError, ""
    if status == 503 and "models are currently loaded" in message:
        return ModelNotLoadedError, "load one with client.models.load(name) or on the server"
    if status >= 500:
        hint = "the server's own log says more" if status in (500, 503) else ""
        return ServerError, hint
    return APIError, ""


class ReportedError(msgspec.Struct):
    """The parts of an error body, whatever its shape."""

    message: str | None = None
    details: list[str] = []
    code: str | None = None
    trace: str | None = None


def read_error(body: bytes) -> ReportedError | None:
    """Read an error body; None if it is none.

    Error bodies are `{"detail": ...}`, `{"error": ...}` and `{"object": "error", "message": ...}`.
    """
    try:
        data = decode_json(body)
    except JSONError:
        return None
    if not isinstance(data, dict):
        return None
    detail, error = data.get("detail"), data.get("error")
    if data.get("object") == "error":
        error = data
    if isinstance(error, str):
        error = {"message": error}
    elif not isinstance(error, dict):
        error = None
    if error is None and not isinstance(detail, str | list):
        return None
    reported = ReportedError(
        _text_or_none(error, "message"),
        code=_text_or_none(error, "code"),
        trace=_text_or_none(error, "trace"),
    )
    if isinstance(detail, str):
        reported.message = detail
    elif isinstance(detail, list):
        reported.message = "the server refused the request's fields:"
        reported.details = [_field_error(item) for item in detail]
    return reported


def _text_or_none(fields: Mapping[str, Any] | None, name: str) -> str | None:
    value = fields.get(name) if fields else None
    return value if isinstance(value, str) else None


def _field_error(item: Any) -> str:
    """`messages[0].content: Input should be a valid string (got 5)`"""
    if not isinstance(item, dict):
        return str(item)
    where = ""
    loc = item.get("loc")
    if item.get("type") == "json_invalid" and isinstance(loc, list) and len(loc) == 2:
        context = item.get("ctx")
        reason = context.get("error") if isinstance(context, dict) else "malformed"
        return f"character {loc[1]} of the body: {item.get('msg', 'no JSON')} ({reason})"
    parts = loc if isinstance(loc, list) else []
    for part in parts[1:] if parts[:1] == ["body"] else parts:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    line = f"{where or 'body'}: {item.get('msg', 'invalid')}"
    if "input" in item and isinstance(item["input"], str | int | float | bool | None):
        shown = repr(item["input"])
        line += f" (got {shown if len(shown) <= 80 else shown[:80] + '...'})"
    return line


def _described(content_type: str, body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    kind = content_type.split(";")[0].strip() or "a body without a content type"
    text = body[:400].decode("utf-8", "replace").strip()
    shown = " ".join(text.split())[:120]
    return f"{'an HTML page' if 'html' in kind else kind} starting {shown!r}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After`, given as a number or as a date; None if it is neither."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value[:1].isdigit():
        with contextlib.suppress(ValueError):
            return float(value)
    from email.utils import parsedate_to_datetime  # slow to import, and hardly ever needed

    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    return None


def _cut(text: str) -> str:
    """A text of the server at a length that can be read."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
