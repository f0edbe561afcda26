"""Tables of what was measured: figures, and our ratios against the goals, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from .run import Results

__all__ = [
    "FIGURES",
    "GOALS",
    "Goal",
    "figures_table",
    "goal_row",
    "goals_table",
    "number",
    "ratio",
    "row",
]

FIGURES = {
    "coalesced_us": "chunk, coalesced (us CPU)",
    "bundled_us": "chunk, bundled (us CPU)",
    "single_us": "chunk, one by one (us CPU)",
    "request_us": "request (us CPU)",
    "in_flight_us": "request, 64 in flight (us CPU)",
    "history_us": "request, 200 messages (us CPU)",
    "warm_ms": "first chunk, warm (ms)",
    "cold_ms": "first chunk, new client (ms)",
    "fresh_ms": "first chunk, new process (ms CPU)",
    "import_ms": "import (ms CPU)",
    "import_mib": "import (MiB)",
    "stream_kib": "memory of a stream (KiB)",
    "p50_ms": "many paced streams, p50 added (ms)",
    "p99_ms": "many paced streams, p99 added (ms)",
    "paced_us": "many paced streams, chunk (us CPU)",
}


class Goal(NamedTuple):
    """A figure of ours against another's. `times`: how many times smaller it is to be; without
    it, `limit` is the largest ratio allowed, or the largest value where there is no other.
    """

    title: str
    ours: tuple[str, str]
    other: tuple[str, str] | None
    times: float | None = None
    limit: float | None = None


def _below_openai(title: str, figure: str, ours: str, theirs: str, times: float) -> Goal:
    return Goal(title, (f"tabbyapi {ours}", figure), (f"openai {theirs}", figure), times=times)


def _part_of_openai(title: str, figure: str, kind: str, limit: float) -> Goal:
    return Goal(title, (f"tabbyapi {kind}", figure), (f"openai {kind}", figure), limit=limit)


GOALS = (
    _below_openai("CPU per chunk, coalesced, sync", "coalesced_us", "sync", "sync", 80),
    _below_openai("CPU per chunk, coalesced, async", "coalesced_us", "async", "async", 75),
    _below_openai("CPU per chunk, one by one, sync", "single_us", "sync", "sync", 9),
    _below_openai("CPU per chunk, one by one, async", "single_us", "async", "async", 7.5),
    _below_openai(
        "CPU per chunk, one by one, async on uvloop", "single_us", "async uvloop", "async", 10.5
    ),
    _below_openai("CPU per request, sync", "request_us", "sync", "sync", 30),
    _below_openai("CPU per request, async", "request_us", "async", "async", 30),
    _below_openai("CPU per request, async, 64 in flight", "in_flight_us", "async", "async", 50),
    Goal(
        "split and typed decode over decode alone, 64 KB reads",
        ("parser", "split_64k_us"),
        ("parser", "decode_us"),
        limit=1.8,
    ),
    Goal(
        "split and typed decode over decode alone, one event per read",
        ("parser", "split_single_us"),
        ("parser", "decode_us"),
        limit=2.5,
    ),
    _part_of_openai("first chunk, warm, sync", "warm_ms", "sync", 0.08),
    _part_of_openai("first chunk, warm, async", "warm_ms", "async", 0.08),
    _part_of_openai("first chunk, new client and connection, sync", "cold_ms", "sync", 0.014),
    _part_of_openai("first chunk, new client and connection, async", "cold_ms", "async", 0.014),
    Goal("many paced streams, p99 added, ms", ("tabbyapi async", "p99_ms"), None, limit=10),
    Goal(
        "many paced streams, p99 added, uvloop, ms",
        ("tabbyapi async uvloop", "p99_ms"),
        None,
        limit=2,
    ),
    Goal("memory of a stream, KiB", ("tabbyapi async", "stream_kib"), None, limit=9.5),
    _part_of_openai("import, CPU time", "import_ms", "sync", 0.10),
    Goal("import, MiB", ("tabbyapi sync", "import_mib"), None, limit=8),
    _part_of_openai("fresh process to first chunk, sync", "fresh_ms", "sync", 0.08),
    _part_of_openai("fresh process to first chunk, async", "fresh_ms", "async", 0.11),
)


def ratio(results: Results, goal: Goal) -> list[float]:
    """The goal's figure in each round, in its own unit."""
    ours = results.get(goal.ours[0], {}).get(goal.ours[1], [])
    if goal.other is None:
        return ours
    theirs = results.get(goal.other[0], {}).get(goal.other[1], [])
    if goal.times is not None:
        return [b / a for a, b in zip(ours, theirs, strict=True)]
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def number(value: float) -> str:
    """A figure as the tables show it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def goals_table(results: Results) -> str:
    """Each goal: the median of the rounds, their spread, and whether it is met."""
    lines = [row(["goal", "at least", "measured", "spread", "met"]), "|---|--:|--:|--:|:--|"]
    for goal in GOALS:
        values = ratio(results, goal)
        if not values:
            continue
        middle = statistics.median(values)
        sign, target = (">=", goal.times) if goal.times is not None else ("<=", goal.limit)
        assert target is not None
        met = middle >= target if goal.times is not None else middle <= target
        unit = "x" if goal.other else ""
        lines.append(goal_row(goal.title, f"{sign} {target:g}", unit, values, met=met))
    return "\n".join(lines)


def goal_row(title: str, target: str, unit: str, values: list[float], *, met: bool) -> str:
    """A goal's row: its target, the median of the rounds, their spread, and whether it is met."""
    cells = [
        title,
        f"{target}{unit}",
        f"{number(statistics.median(values))}{unit}",
        f"{number(min(values))} to {number(max(values))}",
        "yes" if met else "no",
    ]
    return row(cells)


def figures_table(results: Results) -> str:
    """Medians of every client; a column for each figure."""
    names = [f for f in FIGURES if any(f in figures for figures in results.values())]
    lines = [
        row(["client", *(FIGURES[name] for name in names)]),
        "|---|" + "--:|" * len(names),
    ]
    for peer, figures in results.items():
        if peer == "parser":
            continue
        cells = [number(statistics.median(figures[n])) if n in figures else "" for n in names]
        lines.append(row([peer, *cells]))
    return "\n".join(lines)
