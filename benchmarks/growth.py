"""How our costs grow: the same thing measured at growing sizes, each as its cost per unit.

Linear growth is a cost per unit that stays: the last column is that of the largest size, as a
ratio to that of a size at which what every stream or request costs once has been spread out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tabbyapi
from tabbyapi import assistant, user

from .process import cpu_of, memory
from .run import call_worker, replay_server
from .sizes import Sizes

__all__ = ["Growth", "growth_table", "measure_growth"]

_REPEAT = 20  # requests for one figure


class Growth(NamedTuple):
    """A cost per unit at each size."""

    title: str
    sizes: list[int]
    costs: list[float]
    base: int
    """Which size the largest is compared with."""

    @property
    def ratio(self) -> float:
        """The cost per unit at the largest size against that at the base."""
        return self.costs[-1] / max(self.costs[self.base], 1e-9)


def measure_growth(sizes: Sizes, say: Callable[[str], None]) -> list[Growth]:
    """Everything that must grow linearly; `sizes.growth` divides the largest sizes."""
    with replay_server() as urls:
        say("length of a stream")
        found = _lengths(urls["coalesced"], [n // sizes.growth for n in (1000, 10_000, 100_000)])
        say("length of a history")
        found.append(
            _histories(urls["coalesced"], [n // sizes.growth for n in (50, 100, 200, 400)])
        )
        say("number of streams")
        found += _numbers(urls, sizes, [max(1, n // sizes.growth) for n in (10, 100, 1000)])
    return found


def _lengths(url: str, counts: list[int]) -> list[Growth]:
    times, spaces = [], []
    with tabbyapi.Client(url) as client:
        for count in [counts[0], *counts]:  # the first one warms up
            before = memory()
            with (
                cpu_of() as cost,
                client.chat.create_stream([user("Go on.")], max_tokens=count) as stream,
            ):
                for _ in stream:
                    pass
                assert stream.response.text
                space = memory() - before
            times.append(cost.per(count))
            spaces.append(space / count)
    return [
        Growth("chunk of one stream, with the assembled answer (us CPU)", counts, times[1:], 1),
        Growth("... memory kept for it (bytes)", counts[1:], spaces[2:], 0),
    ]


def _histories(url: str, counts: list[int]) -> Growth:
    costs = []
    with tabbyapi.Client(url) as client:
        for count in [counts[0], *counts]:
            pairs = [(user(f"Question {n}?"), assistant(f"Answer {n}.")) for n in range(count)]
            messages = [message for pair in pairs for message in pair] + [user("And now?")]
            with cpu_of() as cost:
                for _ in range(_REPEAT):
                    client.chat.create(messages, max_tokens=1)
            costs.append(cost.per(_REPEAT * count))
    return Growth("turn of the history of a request (us CPU)", counts, costs[1:], 1)


def _numbers(urls: dict[str, str], sizes: Sizes, counts: list[int]) -> list[Growth]:
    times, spaces = [], []
    for count in counts:
        chosen = sizes._replace(streams=count, memory=count)
        # A process each: memory that another size has freed would be taken again.
        job = {"peer": "tabbyapi async", "urls": urls}
        times.append(call_worker("pace", chosen, **job)["paced_us"])
        spaces.append(call_worker("hold", chosen, **job)["stream_kib"])
    return [
        Growth("chunk of many streams at 50 a second each (us CPU)", counts, times, 1),
        Growth("... memory of a stream (KiB)", counts, spaces, 1),
    ]


def growth_table(found: list[Growth]) -> str:
    """A row for each cost: its sizes, its costs per unit, and how the last compares."""
    lines = ["| cost of one | at | costs | largest against |", "|---|---|---|--:|"]
    for growth in found:
        at = " / ".join(f"{size:,}" for size in growth.sizes)
        costs = " / ".join(f"{cost:.3g}" for cost in growth.costs)
        base = growth.sizes[growth.base]
        lines.append(f"| {growth.title} | {at} | {costs} | {growth.ratio:.2f}x that at {base:,} |")
    return "\n".join(lines)
