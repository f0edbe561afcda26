"""Answers that refuse: TabbyAPI's error bodies, in their four shapes.

Unless the server runs in parity mode, the first two also get the `error` object that clients of
OpenAI's API look for.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

__all__ = [
    "JSON",
    "STOPPING",
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
STOPPING = "The server is being stopped."
_RETRY_AFTER = "2"  # seconds
_KINDS = {
    401: ("authentication_error", "invalid_api_key"),
    404: ("not_found_error", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
_MOST_ERRORS = 100  # reported of one body
_MOST_ECHOED = 1 << 20  # bytes of the body that its errors give back


class ClientGone(Exception):
    """The client closed its connection before it was answered."""


class HTTPError(Exception):
    """Ends a request with an error answer.

    Args:
        status: of the answer.
        detail: what is wrong, as text or as a list of field errors.
        body: JSON to answer with; by default the detail.
        headers: of the answer, beside the usual ones.
        message: for the `error` object, where it is to say more than the detail.
    """

    def __init__(
        self,
        status: int,
        detail: Any,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(str(detail))
        self.status = status
        self.body = {"detail": detail} if body is None else body
        self.headers = headers
        self._message = message

    def answer(self, *, parity: bool) -> Response:
        """The HTTP answer; with `parity` exactly TabbyAPI's."""
        if self.status == 500:
            return PlainTextResponse("Internal Server Error", 500)
        body = self.body
        if not parity and "detail" in body and "error" not in body:
            body = body | {"error": self._error(body["detail"])}
        return json_answer(body, self.status, self.headers)

    def _error(self, detail: Any) -> dict[str, Any]:
        message, param = self._message or detail, None
        if isinstance(detail, list):
            places = [".".join(map(str, error["loc"][1:])) for error in detail]
            lines = zip(places, detail, strict=True)
            message = "; ".join(f"{place}: {error['msg']}" for place, error in lines)
            param = places[0] if places else None
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        kind, code = _KINDS.get(self.status, (default, None))
        return {"message": message, "type": kind, "param": param, "code": code}


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


def error_event(message: str, *, overflow: bool = False, parity: bool = True) -> bytes:
    """Shape 4, or shape 3 inside a stream: the event that ends it without `[DONE]`."""
    if overflow:
        body = spaced(_overflow(message))
    else:  # compact, unlike all else in the streams of generation
        known = message.encode("utf-8", "replace").decode()
        error = {"message": known, "trace": None}
        if not parity:
            error |= {"type": "server_error", "param": None, "code": None}
        body = msgspec.json.encode({"error": error})
    return b"data: " + body + b"\r\n\r\n"
