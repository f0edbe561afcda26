"""Why a blocking connection failed, in words for people."""

from __future__ import annotations

from urllib3.exceptions import ConnectTimeoutError, ProtocolError

__all__ = ["cause_of", "reason_of", "words"]


def cause_of(error: BaseException) -> BaseException:
    """The innermost cause of what urllib3 raised."""
    while True:
        inner = (
            error.__cause__
            or getattr(error, "reason", None)
            or getattr(error, "original_error", None)
        )
        if inner is None and isinstance(error, ProtocolError) and len(error.args) > 1:
            inner = error.args[1]
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def reason_of(error: BaseException) -> str:
    """The innermost cause, in words."""
    return words(cause_of(error))


def words(error: BaseException) -> str:
    """A cause in a few words, without addresses of objects."""
    if isinstance(error, ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    text = str(error)
    return text.split(": ", 1)[-1] if " object at 0x" in text else text or type(error).__name__
