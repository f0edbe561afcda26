"""Why there is no answer, or none that can be used: the errors of transports, and their words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import RequestError, RequestTimeout
from .http1 import CutOffError, HTTPError

if TYPE_CHECKING:
    from .base import Request

__all__ = [
    "broken_answer",
    "certificate_advice",
    "is_over",
    "is_stale",
    "no_answer",
    "no_answer_in_time",
    "words",
]


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
    if "Connect call failed" in text and isinstance(error, OSError) and error.errno:  # asyncio's
        text = os.strerror(error.errno)
    if isinstance(error, OSError):
        return text[:1].lower() + text[1:] or type(error).__name__
    return text.split(": ", 1)[-1] if " object at 0x" in text else text or type(error).__name__


def is_over(error: BaseException) -> bool:
    """True for a timeout of our own; one of the operating system has an errno."""
    return isinstance(error, TimeoutError) and error.errno is None


def certificate_advice(error: BaseException) -> str:
    """What to do about a certificate that is not trusted; "" for any other error."""
    if not getattr(error, "verify_message", None):
        return ""
    return (
        "Trust it with verify='path/to/certificate.pem' (or SSL_CERT_FILE), or connect by the name "
        "that it was made for; verify=False trusts any certificate"
    )


def no_answer_in_time(
    request: Request, seconds: float | None, what: str, *, via: str = ""
) -> RequestTimeout:
    """The error of a time that is over. `via`: the proxy in words, as in all of these."""
    limit = "in time" if seconds is None else f"within {seconds:g} s"
    advice = "raise timeout=... if the server needs longer"
    if seconds is not None and seconds == request.read_timeout:
        limit += " (timeout.idle)"
        advice = "raise timeout=Timeout(idle=...) if the server needs longer"
        if request.url.endswith("completions"):
            advice += ", or use create_stream: a stream shows that the server is at work"
    return RequestTimeout(f"{request.method} {request.url}{via}: {what} {limit}; {advice}")


def no_answer(
    request: Request,
    limit: float | None,
    error: BaseException,
    *,
    answered: bool,
    via: str = "",
) -> BaseException:
    """What a failure before the answer's head is to the caller. `limit`: seconds it had."""
    if is_over(error):
        return no_answer_in_time(request, limit, "no answer came", via=via)
    if isinstance(error, HTTPError | OSError):
        return broken_answer(request, error, answered=answered, via=via)
    return error


def broken_answer(
    request: Request, error: HTTPError | OSError, *, answered: bool = True, via: str = ""
) -> RequestError:
    """What a failure of the connection, or of what came over it, is to the caller."""
    where = f"{request.method} {request.url}{via}"
    if isinstance(error, OSError | CutOffError):
        when = "in the middle of the answer" if answered else "before any answer came"
        said = f"{where}: the connection was lost {when} ({words(error)})"
        return RequestError(said, answered=answered)
    return RequestError(
        f"{where}: the answer is not valid HTTP ({error}). Is this really a TabbyAPI server?",
        answered=True,
    )


def is_stale(error: BaseException) -> bool:
    """Whether a connection proved dead: it ended or broke, and no time was over."""
    return isinstance(error, CutOffError | OSError) and not is_over(error)
