"""Why a connection failed, in words for people."""

from __future__ import annotations

import os
import re

__all__ = ["words"]

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
