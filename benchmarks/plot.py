"""A picture of the ratios against openai's client."""

from __future__ import annotations

import statistics
from pathlib import Path

from .run import Results

__all__ = ["plot"]

_SHOWN = {
    "coalesced_us": "chunk, coalesced",
    "single_us": "chunk, one by one",
    "request_us": "request",
    "history_us": "request, 200 messages",
}
_CLIENTS = ("tabbyapi", "httpx2+msgspec", "ollama", "openai")
_COLOURS = ("#1f6feb", "#8b949e", "#b1bac4", "#d0d7de")


def plot(results: Results, path: Path) -> None:
    """Draws how many times less CPU each client takes than openai's, sync and async."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, sides = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    height = 0.8 / len(_CLIENTS)
    for side, kind in zip(sides, ("sync", "async"), strict=True):
        for place, client in enumerate(_CLIENTS):
            values = [_times_less(results, f"{client} {kind}", kind, name) for name in _SHOWN]
            at = [row + place * height for row in range(len(_SHOWN))]
            bars = side.barh(at, values, height * 0.9, label=client, color=_COLOURS[place])
            side.bar_label(
                bars,
                [f"{v:.0f}x" if v >= 10 else f"{v:.2g}x" for v in values],
                padding=3,
                fontsize=8,
            )
        side.set_yticks([row + 0.3 for row in range(len(_SHOWN))], list(_SHOWN.values()))
        side.set_xscale("log")
        side.set_xlim(0.8, 1000)
        side.set_title(f"{kind}: times less CPU than openai {kind}")
        side.spines[["top", "right"]].set_visible(False)
    sides[0].invert_yaxis()
    names = sides[0].get_legend_handles_labels()
    figure.legend(*names, frameon=False, loc="outside lower center", ncols=len(_CLIENTS))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _times_less(results: Results, client: str, kind: str, name: str) -> float:
    ours, theirs = results[client][name], results[f"openai {kind}"][name]
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
