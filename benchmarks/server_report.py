"""Tables of what was measured of the local server: figures, and goals with their spread."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from .local_server import BARE, OURS, STREAMS
from .report import goal_row, number, row
from .run import Results

__all__ = ["SERVER_GOALS", "server_figures_table", "server_goals_table"]


# A cell of the first rows holds a figure for each number of streams.
_FIGURES = {
    "chunks a second": [f"rate_{count}" for count in STREAMS],
    "chunk (us CPU of the server)": [f"server_{count}_us" for count in STREAMS],
    "chunk (us CPU of the engine)": [f"engine_{count}_us" for count in STREAMS],
    "chunk (us CPU of the load)": [f"load_{count}_us" for count in STREAMS],
    "first chunk (ms)": [f"first_{count}_ms" for count in STREAMS],
    "first chunk after 2,000 tokens, cold (ms)": ["cold_ms"],
    "first chunk of the second turn (ms)": ["second_ms"],
    "from leaving to a free slot, decode (ms)": ["leave_decode_s"],
    "from leaving to a free slot, prefill (ms)": ["leave_prefill_s"],
    "memory of a stream (KiB)": ["stream_kib"],
}


class ServerGoal(NamedTuple):
    """A figure of the local server, or its ratio to `other`: a side's figure, or its own."""

    title: str
    figure: str
    other: tuple[str, str] | None
    least: float | None = None
    most: float | None = None
    unit: str = "x"

    def values(self, results: Results, model: str) -> list[float]:
        """What came out in each round."""
        ours = results.get(f"{OURS}, {model}", {}).get(self.figure, [])
        if self.other is None:
            return ours
        theirs = results.get(f"{self.other[0]}, {model}", {}).get(self.other[1], [])
        return [a / b for a, b in zip(ours, theirs, strict=True)]


SERVER_GOALS = (
    *(
        ServerGoal(
            f"chunks a second over the bare engine's, {count} stream{'s' if count > 1 else ''}",
            f"rate_{count}",
            (BARE, f"rate_{count}"),
            least=0.8,
        )
        for count in STREAMS
    ),
    ServerGoal("first chunk, second turn over cold", "second_ms", (OURS, "cold_ms"), most=0.15),
    ServerGoal("from leaving to a free slot, decode", "leave_decode_s", None, most=0.1, unit=" s"),
    ServerGoal("from leaving to a free slot, prefill", "leave_prefill_s", None, most=1, unit=" s"),
)


def _models(results: Results) -> list[str]:
    return list(dict.fromkeys(peer.partition(", ")[2] for peer in results))


def server_goals_table(results: Results) -> str:
    """Each goal for each model: the median of the rounds, their spread, and whether it is met."""
    lines = [row(["goal", "at", "measured", "spread", "met"]), "|---|--:|--:|--:|:--|"]
    for model in _models(results):
        for goal in SERVER_GOALS:
            values = goal.values(results, model)
            if not values:
                continue
            middle = statistics.median(values)
            least, most = goal.least, goal.most
            met = (least is None or middle >= least) and (most is None or middle <= most)
            target = f"<= {most:g}" if least is None else f">= {least:g}"
            title = f"{goal.title}, {model}"
            lines.append(goal_row(title, target, goal.unit, values, met=met))
    return "\n".join(lines)


def server_figures_table(results: Results) -> str:
    """Medians of both sides; a column for each side and model."""
    streams = " / ".join(str(count) for count in STREAMS)
    columns = [f"{side}, {model}" for model in _models(results) for side in (BARE, OURS)]
    lines = [row([f"at {streams} streams", *columns]), "|---|" + "--:|" * len(columns)]
    for title, names in _FIGURES.items():
        cells = []
        for column in columns:
            scale = 1e3 if names[0].endswith("_s") else 1.0
            found = [results[column][name] for name in names if name in results[column]]
            cells.append(" / ".join(number(statistics.median(v) * scale) for v in found))
        lines.append(row([title, *cells]))
    return "\n".join(lines)
