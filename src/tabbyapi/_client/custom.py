"""Calls of routes that the client has no method for: `client.request("POST", path, ...)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import msgspec

from .._protocol.call import Auth, Call
from ..errors import ValidationError
from ..types.options import Timeout

__all__ = ["RequestOptions", "custom_call"]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CLASSES = ("api", "admin", "open", "listing")


class RequestOptions(TypedDict, total=False):
    """Options of `client.request`."""

    json: Any
    """Value for the body. Default: no body."""
    auth: Auth
    """Class of the route, which decides the key: "api" (default), "admin" or "open"."""
    timeout: Timeout | float | None
    """Limits for this call: seconds in all, or a `Timeout`. Default: the client's."""
    extra_headers: Mapping[str, str] | None
    """Headers of this call, in addition to the client's."""


def custom_call(method: str, path: str, cast_to: Any, options: Mapping[str, Any]) -> Call[Any]:
    """The call of any route. Only a GET is repeated: what others change is not known.

    Raises:
        ValidationError: a method, path, class or type that cannot be used.
    """
    if not isinstance(method, str) or method.upper() not in _METHODS:
        raise _bad("method", f"must be one of {', '.join(_METHODS)}, not {method!r}")
    if not isinstance(path, str) or not path.startswith("/") or not path.isascii():
        raise _bad("path", f"must begin with / and be ASCII (percent-encoded), not {path!r}")
    if any(c <= " " or c in "#\x7f" for c in path):
        raise _bad("path", f"holds spaces, control characters or a #: {path!r}")
    if unknown := options.keys() - RequestOptions.__annotations__.keys():
        raise _bad(min(unknown), "is no option of a request")
    auth = options.get("auth", "api")
    if auth not in _CLASSES:
        raise _bad("auth", f"must be one of {', '.join(_CLASSES)}, not {auth!r}")
    return Call(
        method=method.upper(),
        path=path,
        decode=_decoder(cast_to),
        body=_encoded(options["json"]) if "json" in options else None,
        auth=auth,
        accept=(201, 202, 203, 204),
        timeout=options.get("timeout"),
        headers=options.get("extra_headers"),
        repeatable=method.upper() == "GET",
    )


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _bad("json", f"cannot be sent: {error}") from None


def _decoder(cast_to: Any) -> Callable[[bytes], Any]:
    if cast_to is bytes:
        return bytes
    try:
        decode = msgspec.json.Decoder(cast_to).decode
    except (TypeError, ValueError) as error:
        raise _bad("cast_to", f"cannot be read from JSON: {error}") from None
    if cast_to is Any or cast_to is None:
        return lambda body: decode(body) if body else None
    return decode


def _bad(field: str, why: str) -> ValidationError:
    return ValidationError(f"{field} {why}", field=field)
