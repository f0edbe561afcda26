"""Recorded answers, and `tabbyapi.testing`'s server that plays them from a real socket.

with ReplayServer(replay(capture, Split.EVERY_BYTE)) as server:
    ...                                    # talk to server.url
assert server.requests[0].headers["authorization"] == "Bearer test-api-key"
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum

from tabbyapi.testing import ReceivedRequest as Request
from tabbyapi.testing import ReplayServer, Reply, Then, json_reply

from .captures import Capture

__all__ = ["ReplayServer", "Reply", "Request", "Split", "json_reply", "replay", "split"]


class Split(StrEnum):
    """How a response is cut into writes. The network may join neighbours again."""

    WHOLE = "whole"
    FRAMED = "framed"  # head, then each HTTP chunk, as the real server writes
    EVERY_BYTE = "every byte"
    RANDOM = "random"  # anywhere, decided by a seed


def split(pieces: Sequence[bytes], how: Split, seed: int = 0) -> list[bytes]:
    """`pieces` cut anew, as `how` says."""
    if how is Split.FRAMED:
        return list(pieces)
    whole = b"".join(pieces)
    if how is Split.WHOLE:
        return [whole]
    if how is Split.EVERY_BYTE:
        return [whole[i : i + 1] for i in range(len(whole))]
    draw = random.Random(seed)
    cuts = sorted(draw.randrange(len(whole) + 1) for _ in range(draw.randrange(1, 40)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


_AFTER: dict[str, Then] = {
    "complete": "keep",
    "server_closed": "close",
    # The client left these; had it stayed, the server would have stayed silent for a while.
    "client_aborted": "hang",
    "client_stopped_reading": "hang",
}


def replay(capture: Capture, how: Split = Split.FRAMED, seed: int = 0) -> Reply:
    """The recorded answer, byte for byte, ending as it ended."""
    assert not capture.body_left_out, f"{capture.name} has no recorded body"
    return Reply(split(capture.framed, how, seed), _AFTER[capture.end])
