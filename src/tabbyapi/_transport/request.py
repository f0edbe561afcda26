"""What goes over the wire, and a whole answer to it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..types.options import Limits, Timeout

__all__ = ["Answer", "Request"]


class Request(msgspec.Struct, frozen=True):
    """What goes over the wire. `read_timeout`: longest silence, seconds; None = any."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    timeout: Timeout
    read_timeout: float | None
    limits: Limits = Limits()


class Answer(msgspec.Struct, frozen=True):
    """A complete answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
