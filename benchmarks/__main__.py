"""`python -m benchmarks`: measures, prints tables, and writes what it is asked to."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .growth import growth_table, measure_growth
from .local_server import SERVER_SIZES, ServerSizes, measure_server
from .plot import plot
from .report import figures_table, goals_table
from .run import Results, take_rounds
from .server_growth import measure_server_growth
from .server_report import server_figures_table, server_goals_table
from .sizes import FULL, QUICK, SMOKE, Sizes

_SIZES = {"full": FULL, "quick": QUICK, "smoke": SMOKE}
_LIBRARIES = ("openai", "ollama", "httpx2", "urllib3", "aiohttp", "msgspec", "uvloop")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(path: Path, sizes: Sizes | ServerSizes, results: Results) -> None:
    data = {"versions": _versions(), "sizes": sizes._asdict(), "results": results}
    path.write_text(json.dumps(data, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_const", const="quick", dest="size", default="full")
    parser.add_argument("--size", choices=_SIZES, default="full")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--json", type=Path, help="write every figure of every round here")
    parser.add_argument("--growth", action="store_true", help="how costs grow, instead")
    parser.add_argument("--server", action="store_true", help="what the local server adds, instead")
    parser.add_argument("--plot", type=Path, help="draw the ratios as PNG here")
    arguments = parser.parse_args()

    sizes = _SIZES[arguments.size]
    if arguments.rounds:
        sizes = sizes._replace(rounds=arguments.rounds)
    if arguments.growth and arguments.server:
        print(growth_table(measure_server_growth(sizes.growth, _say)))
        return
    if arguments.growth:
        print(growth_table(measure_growth(sizes, _say)))
        return
    if arguments.server:
        chosen = SERVER_SIZES[arguments.size]
        if arguments.rounds:
            chosen = chosen._replace(rounds=arguments.rounds)
        found = measure_server(chosen, _say)
        print(server_figures_table(found), server_goals_table(found), sep="\n\n")
        if arguments.json:
            _write(arguments.json, chosen, found)
        return
    results = take_rounds(sizes, _say)
    print(figures_table(results), goals_table(results), sep="\n\n")
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.json:
        _write(arguments.json, sizes, results)


if __name__ == "__main__":
    main()
