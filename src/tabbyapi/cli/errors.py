"""Messages of failures, and their exit statuses.

1  the server or the model refused, or the answer broke off
2  usage: an option, a file or a value is wrong
3  no server could be reached
"""

from __future__ import annotations

import click

from ..errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    ContextLengthError,
    ModelNotLoadedError,
    PermissionDeniedError,
    RequestError,
    StreamError,
    TabbyError,
    ValidationError,
)
from .output import warn

__all__ = [
    "DEFAULT_ORIGIN",
    "ORIGIN",
    "SERVER_ERROR",
    "UNREACHABLE",
    "USAGE",
    "explain",
    "report",
    "status_of",
]

SERVER_ERROR, USAGE, UNREACHABLE = 1, 2, 3

ORIGIN = "tabbyapi.cli.origin"
"""Key in a click context: words for where the server's address is from."""

DEFAULT_ORIGIN = (
    "the default, because there is no --url, no TABBY_API_ENDPOINT and none in the config"
)


def report(error: Exception) -> int:
    """Write what went wrong to standard error; returns the exit status."""
    click.secho("Error:", fg="red", bold=True, nl=False, err=True)
    warn(" " + explain(error))
    return status_of(error)


def status_of(error: Exception) -> int:
    """The exit status that an error stands for."""
    if isinstance(error, ValidationError | OSError) and not isinstance(error, RequestError):
        return USAGE
    if isinstance(error, RequestError) and not isinstance(error, StreamError):
        return SERVER_ERROR if error.answered else UNREACHABLE
    return SERVER_ERROR


def explain(error: Exception) -> str:
    """The error in words, with what to do about it at a terminal."""
    if isinstance(error, ConnectError):
        return _unreachable(error)
    if isinstance(error, StreamError):
        return str(error)
    if isinstance(error, APIError):
        return _refused(error)
    if isinstance(error, TabbyError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a fault of tabbyapi itself. TABBY_DEBUG=1 shows where it happened."
    )


def _unreachable(error: ConnectError) -> str:
    context = click.get_current_context(silent=True)
    origin = context.meta.get(ORIGIN, DEFAULT_ORIGIN) if context else DEFAULT_ORIGIN
    from .embedded import LOCAL_EXTRA, local_extra_missing

    missing = local_extra_missing() is not None
    start = (
        f"install one on this machine: {LOCAL_EXTRA}" if missing else "start one: tabbyapi serve"
    )
    return (
        f"{error.reason}.\n"
        f"  The address is {origin}.\n"
        f"  Say where your server is with --url http://HOST:PORT, or {start}"
    )


def _refused(error: APIError) -> str:
    text = f"{error.message}"
    if error.url:
        text = f"{error.method} {error.url}: {error.status_code} {error.message}"
    text += "".join(f"\n  {line}" for line in error.details)
    hint = _hint(error)
    return f"{text}\n  {hint}" if hint else text


def _hint(error: APIError) -> str:
    if isinstance(error, PermissionDeniedError):
        return "This needs the server's admin key: --admin-key KEY, or TABBY_ADMIN_KEY."
    if isinstance(error, AuthenticationError):
        return "Give the server's key with --api-key KEY, or in TABBY_API_KEY."
    if isinstance(error, ContextLengthError):
        return "The conversation is too long for the model: start anew, or lower --max-tokens."
    if isinstance(error, ModelNotLoadedError):
        return (
            "The server runs, but holds no such model: 'tabbyapi models list' shows what there "
            "is, 'tabbyapi models load NAME' loads it."
        )
    hint = error.hint.replace("base_url", "--url")
    if not hint:
        return ""
    return hint[0].upper() + hint[1:] + ("" if hint[-1] in ".?!" else ".")
