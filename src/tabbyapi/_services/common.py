"""What several services share."""

from __future__ import annotations

from typing import TypeAlias

from .._protocol.decode import JSONError
from ..types.options import Timeout

__all__ = ["TimeoutLike", "nothing"]

TimeoutLike: TypeAlias = Timeout | float | None
"""Limits for a call: seconds in all, or a `Timeout`. None: the client's."""


def nothing(body: bytes) -> None:
    """Read the `null` of routes without a result, or the empty body that YALS sends.

    Raises:
        JSONError: anything else, such as an error under a good status.
    """
    if body.strip() not in (b"", b"null"):
        raise JSONError("null was expected")
