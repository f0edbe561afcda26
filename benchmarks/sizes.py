"""How much is measured: enough for steady figures, or just enough to see that it all runs."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FULL", "QUICK", "SMOKE", "Sizes", "streams_of"]


class Sizes(NamedTuple):
    """Counts for one round, and how many rounds are taken."""

    rounds: int
    coalesced: int  # chunks of a stream that is sent at once, bundled or not
    single: int  # chunks of a stream sent one by one, a millisecond apart
    requests: int
    in_flight: int
    history: int  # messages in the request with a long history
    first: int  # streams whose first chunk is timed on a warm connection
    cold: int  # the same with a new client each
    streams: int  # paced streams at once
    seconds: float  # for how long
    memory: int  # streams held open for the memory of one
    growth: int  # the largest of each growth table is divided by this


def streams_of(sizes: Sizes) -> tuple[tuple[str, int], ...]:
    """The streams of which a chunk's cost is measured: how they are sent, and their chunks."""
    return ("coalesced", sizes.coalesced), ("bundled", sizes.coalesced), ("single", sizes.single)


FULL = Sizes(7, 5000, 1500, 200, 64, 200, 40, 10, 500, 5.0, 400, 1)
QUICK = Sizes(3, 3000, 600, 100, 64, 200, 20, 5, 200, 2.0, 100, 10)
SMOKE = Sizes(1, 50, 10, 4, 4, 4, 2, 1, 4, 0.2, 4, 1000)
