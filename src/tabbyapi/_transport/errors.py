"""Why there is no answer, or none that can be used: the errors of transports, and their words."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from ..errors import ConnectError, RequestError, RequestTimeout
from .http1 import CutOffError, HTTPError
from .request import Request

__all__ = [
    "broken_answer",
    "cannot_connect",
    "is_over",
    "lost_connection",
    "no_answer",
    "no_answer_in_time",
    "words",
]

_NUMBER = re.compile(r"\[Errno (\d+)\]")


def words(error: BaseException) -> str:
    """A cause in a few words, without addresses of objects."""
    told = getattr(error, "verify_message", None)  # of a certificate
    if told:
        return f"its certificate is not trusted ({told})"
    told = getattr(error, "reason", None)  # of TLS; ssl need not have been imported
    if isinstance(error, OSError) and isinstance(told, str):
        return f"TLS failed ({told.replace('_', ' ').lower()})"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if "Connect call failed" in text:  # asyncio's; of several addresses, all with their numbers
        number = getattr(error, "errno", None)
        if number is None and (found := _NUMBER.search(text)):
            number = int(found[1])
        text = "connection refused" if number is None else os.strerror(number)
    if isinstance(error, OSError):
        return text[:1].lower() + text[1:] or type(error).__name__
    return text.split(": ", 1)[-1] if " object at 0x" in text else text or type(error).__name__


def is_over(error: BaseException) -> bool:
    """Whether the time that was given is over; what the system gave up has a number."""
    return isinstance(error, TimeoutError) and error.errno is None


def cannot_connect(url: str, reason: str) -> ConnectError:
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}"
    return ConnectError(
        f"cannot connect to {address}: {reason}. Is TabbyAPI running there? Check base_url (or "
        "TABBY_API_ENDPOINT), or start a server on this machine with 'tabbyapi serve'"
    )


def no_answer_in_time(request: Request, seconds: float | None, what: str) -> RequestTimeout:
    limit = "in time" if seconds is None else f"within {seconds:g} s"
    return RequestTimeout(
        f"{request.method} {request.url}: {what} {limit}; raise timeout=... if the server "
        "needs longer"
    )


def lost_connection(request: Request, reason: str, *, answered: bool) -> RequestError:
    when = "in the middle of the answer" if answered else "before any answer came"
    return RequestError(
        f"{request.method} {request.url}: the connection was lost {when} ({reason})",
        answered=answered,
    )


def no_answer(
    request: Request, limit: float | None, error: BaseException, *, answered: bool
) -> BaseException:
    """What a failure before the answer's head is to the caller. `limit`: seconds it had."""
    if is_over(error):
        return no_answer_in_time(request, limit, "no answer came")
    if isinstance(error, HTTPError | OSError):
        return broken_answer(request, error, answered=answered)
    return error


def broken_answer(
    request: Request, error: HTTPError | OSError, *, answered: bool = True
) -> RequestError:
    """What a failure of the connection, or of what came over it, is to the caller."""
    if isinstance(error, OSError | CutOffError):
        return lost_connection(request, words(error), answered=answered)
    return RequestError(
        f"{request.method} {request.url}: the answer is not valid HTTP ({error}). Is this really "
        "a TabbyAPI server?",
        answered=True,
    )
