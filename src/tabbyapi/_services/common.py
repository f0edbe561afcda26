"""What several services share."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..types.options import Timeout

__all__ = ["TimeoutLike", "nothing"]

TimeoutLike: TypeAlias = Timeout | float | None
"""Limits for a call: seconds in all, or a `Timeout`. None: the client's."""

_decode = msgspec.json.Decoder(Any).decode


def nothing(body: bytes) -> None:
    """Reads the `null` that routes without a result answer with."""
    _decode(body)
