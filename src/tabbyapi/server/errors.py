"""Answers that refuse: TabbyAPI's error bodies, in their four shapes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

__all__ = [
    "JSON",
    "ClientGone",
    "HTTPError",
    "busy",
    "context_refused",
    "error_event",
    "json_answer",
    "spaced",
    "validation_refused",
]

JSON = "application/json"
_RETRY_AFTER = "2"  # seconds
_MOST_ERRORS = 100  # reported of one body
_MOST_ECHOED = 1 << 20  # bytes of the body that its errors give back


class ClientGone(Exception):
    """The client closed its connection: there is nobody left to answer."""


class HTTPError(Exception):
    """Ends a request with this answer. `body` is what goes out as JSON."""

    def __init__(
        self, status: int, detail: Any, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(str(detail))
        self.status = status
        self.body = {"detail": detail} if body is None else body
        self.headers = headers

    def answer(self) -> Response:
        """The HTTP answer."""
        if self.status == 500:
            return PlainTextResponse("Internal Server Error", 500)
        return json_answer(self.body, self.status, self.headers)


def busy(reason: str, headers: dict[str, str] | None = None) -> HTTPError:
    """The refusal (503 with Retry-After) of what could be served a little later."""
    return HTTPError(
        503,
        f"The server is busy: {reason}. Try again later.",
        headers={"retry-after": _RETRY_AFTER} | (headers or {}),
    )


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A compact JSON answer."""
    return Response(msgspec.json.encode(body), status, headers, media_type=JSON)


def spaced(value: Any) -> bytes:
    """JSON as streams have it: a space after `:` and `,`, text not escaped."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def validation_refused(errors: list[dict[str, Any]]) -> HTTPError:
    """Shape 2: the list of what is wrong with the body."""
    kept = ["type", "loc", "msg", "input", "ctx"]
    found = [{k: error[k] for k in kept if k in error} for error in errors[:_MOST_ERRORS]]
    if len(msgspec.json.encode(found)) > _MOST_ECHOED:
        for error in found:
            error.pop("input", None)
    return HTTPError(422, found)


def _overflow(message: str) -> dict[str, Any]:
    return {
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": "context_length_exceeded",
        }
    }


def context_refused(message: str) -> HTTPError:
    """Shape 3: the prompt does not fit."""
    return HTTPError(400, message, body=_overflow(message))


def error_event(message: str, *, overflow: bool = False) -> bytes:
    """Shape 4, or shape 3 inside a stream: the event that ends it without `[DONE]`."""
    if overflow:
        body = spaced(_overflow(message))
    else:  # compact, unlike all else in the streams of generation
        known = message.encode("utf-8", "replace").decode()
        body = msgspec.json.encode({"error": {"message": known, "trace": None}})
    return b"data: " + body + b"\r\n\r\n"
