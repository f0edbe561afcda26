"""Address, keys, headers and limits of a server: what every request to it carries."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import copy
from os import PathLike
from urllib.parse import unquote, urlsplit

from .._version import __version__
from ..errors import ValidationError
from ..types.options import Limits, Retry, RetryPolicy, Timeout
from .call import Call
from .headers import Headers, checked_headers
from .keys import Keys

__all__ = ["Endpoint", "as_limits", "as_retry", "as_timeout", "normalised_url"]

DEFAULT_URL = "http://localhost:5000"

FindKeys = Callable[[str, str | None, str | None], tuple[str | None, str | None]]


class Endpoint:
    """The server's address, the keys and the headers: everything a call needs to be sent.

    Args:
        base_url: the server's root; falls back to TABBY_API_ENDPOINT, then localhost:5000.
        api_key: falls back to TABBY_API_KEY.
        admin_key: falls back to TABBY_ADMIN_KEY.
        bearer_token: sent as `Authorization: Bearer`, where no other key fits.
        headers: added to every request.
        timeout: seconds in all, or a `Timeout`.
        uds: path of the Unix socket that the server listens on; `http+unix:///path` as base_url
            says the same.
        find_keys: given the root and both keys, each None where there is none, returns the keys
            to use. It is not asked where there is a bearer token.

    Attributes:
        url: the server's root, as requests name it.
        uds: path of its Unix socket, None without one.

    Raises:
        ValidationError: an address, key, header or timeout that cannot be used.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        api_key: str | None = None,
        admin_key: str | None = None,
        bearer_token: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout | float | None = None,
        uds: str | PathLike[str] | None = None,
        find_keys: FindKeys = lambda url, api_key, admin_key: (api_key, admin_key),
    ) -> None:
        given = base_url or os.environ.get("TABBY_API_ENDPOINT") or DEFAULT_URL
        self.uds, given = _unix_socket(given, uds)
        self.url = normalised_url(given)
        self.timeout = as_timeout(timeout, Timeout())
        if not bearer_token:  # a token is not joined by a key that happens to be somewhere
            api_key = api_key or os.environ.get("TABBY_API_KEY")
            admin_key = admin_key or os.environ.get("TABBY_ADMIN_KEY")
            api_key, admin_key = find_keys(self.url, api_key, admin_key)
        self._keys = Keys(api_key, admin_key, bearer_token)
        self._common = Headers(
            {
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "User-Agent": f"py-tabbyapi/{__version__}",
            },
            checked_headers(headers),
        )
        self._headers: dict[tuple[str, bool], Headers] = {}

    def changed(
        self, timeout: Timeout | float | None, headers: Mapping[str, str] | None
    ) -> Endpoint:
        """A copy with other limits, and with more headers.

        Raises:
            ValidationError: a timeout or header that cannot be used.
        """
        other = copy(self)
        other.timeout = as_timeout(timeout, self.timeout)
        if headers:
            other._common = Headers(self._common, checked_headers(headers))
            other._headers = {}
        return other

    def headers(self, call: Call[object]) -> Headers:
        """The headers of a call. Those without any of its own share one for each class of route.

        Raises:
            ValidationError: a header of the call cannot be sent.
        """
        kind = (call.auth, call.body is not None)
        headers = self._headers.get(kind)
        if headers is None:
            json = {} if call.body is None else {"Content-Type": "application/json"}
            headers = Headers(self._common, self._keys.headers(call.auth), json)
            self._headers[kind] = headers
        if call.headers:
            return Headers(headers, checked_headers(call.headers, "extra_headers"))
        return headers

    def timeout_of(self, call: Call[object]) -> Timeout:
        """The limits of a call: its own, or the client's."""
        return self.timeout if call.timeout is None else as_timeout(call.timeout, self.timeout)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


def _unix_socket(url: str, uds: str | PathLike[str] | None) -> tuple[str | None, str]:
    """Path of the Unix socket, if there is one, and the server's root as requests name it."""
    text = str(url).strip()
    path = None if uds is None else os.fspath(uds)
    if text.startswith("http+unix://"):
        # Both spellings: http+unix:///run/x.sock, and http+unix://%2Frun%2Fx.sock/path.
        host, slash, rest = text.removeprefix("http+unix://").partition("/")
        named = unquote(host) if host else unquote(slash + rest)
        if path is not None or not named.strip("/"):
            raise _bad_url("give the path of the Unix socket once, as http+unix:///path or uds=")
        return named, DEFAULT_URL + (slash + rest if host else "")
    if path is not None and (not path or "\0" in path):
        raise ValidationError("uds must be the path of a Unix socket", field="uds")
    return path, text


def normalised_url(url: str) -> str:
    """The root of a server: no trailing slash, no `/v1`.

    Raises:
        ValidationError: not an http(s) address, or one with a login, query or fragment.
    """
    text = str(url).strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _bad_url("its host or port cannot be read") from None
    if parts.username is not None or parts.password is not None:
        raise _bad_url("it holds a login; pass api_key=..., or headers=... for a proxy's login")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_url(f"{text!r} is not of the form http://host:port")
    if parts.query or parts.fragment:
        raise _bad_url(f"{text!r} has a query or fragment")
    if any(c.isspace() for c in text) or port == 0 or not _is_host(parts.hostname):
        raise _bad_url(f"{text!r} is not of the form http://host:port")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_host(name: str) -> bool:
    """True for a host name that can be looked up, or an IP address."""
    if ":" in name:
        return True
    labels = name.removesuffix(".").split(".")
    try:
        return all(
            0 < len(label if label.isascii() else label.encode("idna")) < 64 for label in labels
        )
    except UnicodeError:
        return False


def _bad_url(why: str) -> ValidationError:
    return ValidationError(f"base_url cannot be used: {why}", field="base_url")


def as_timeout(value: Timeout | float | None, default: Timeout) -> Timeout:
    """A `Timeout` from what a caller may give: a number is the total.

    Raises:
        ValidationError: not a positive number of seconds.
    """
    if value is None:
        return default
    if isinstance(value, Timeout):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Timeout(connect=default.connect, idle=default.idle, total=value)
    raise ValidationError(f"timeout must be seconds or a Timeout, not {value!r}", field="timeout")


def as_retry(value: Retry | int | None) -> Retry:
    """A retry policy from what a caller may give: a number is that of retries.

    Raises:
        ValidationError: neither a policy nor a whole number, 0 or more.
    """
    if value is None:
        return RetryPolicy()
    if isinstance(value, int | float):
        return RetryPolicy(max_retries=value)  # it checks itself
    if not callable(getattr(value, "delay", None)) or isinstance(value, type):
        raise ValidationError(
            f"retry must be a RetryPolicy, a number of retries, or an object with delay(error, "
            f"attempt), not {value!r}",
            field="retry",
        )
    return value


def as_limits(value: Limits | None) -> Limits:
    """The size limits of a client.

    Raises:
        ValidationError: no `Limits`.
    """
    if value is None:
        return Limits()
    if not isinstance(value, Limits):
        raise ValidationError(f"limits must be a Limits, not {value!r}", field="limits")
    return value
