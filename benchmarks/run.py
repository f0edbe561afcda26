"""The rounds: every client in turn, each in a process of its own, and round after round.

Neighbours on the machine disturb all clients alike that way. Ratios are taken within a round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import startup
from .peers import PEERS
from .sizes import Sizes

__all__ = [
    "ROOT",
    "Results",
    "ask_module",
    "call_worker",
    "module_command",
    "replay_server",
    "take_rounds",
]

Results = dict[str, dict[str, list[float]]]
"""Peer to figure to its value in each round."""

_PACED = ("tabbyapi async", "tabbyapi async uvloop", "openai async", "aiohttp+json async")
_TIMEOUT = 300
ROOT = Path(__file__).parent.parent
"""Where processes are started, so that they find the benchmarks."""


@contextmanager
def replay_server() -> Iterator[dict[str, str]]:
    """Starts the replay server; gives the address for each way of sending."""
    command = [sys.executable, "-m", "benchmarks.replay"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            ports = json.loads(server.stdout.readline())
            yield {mode: f"http://127.0.0.1:{port}" for mode, port in ports.items()}
        finally:
            server.stdin.close()  # it ends by itself


def call_worker(what: str, sizes: Sizes, **job: Any) -> dict[str, float]:
    """Figures that another process measures."""
    label = f"{what} of {job.get('peer', 'the parser')}"
    figures: dict[str, float] = ask_module("worker", {"what": what, "sizes": sizes, **job}, label)
    return figures


def module_command(module: str, job: dict[str, Any]) -> list[str]:
    """How a module of the benchmarks is started with a job."""
    return [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)]


def ask_module(module: str, job: dict[str, Any], label: str) -> dict[str, Any]:
    """What a module, in a process of its own, says of a job. `label` is how a failure names it."""
    command = module_command(module, job)
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{label} failed:\n{done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def take_rounds(sizes: Sizes, say: Callable[[str], None]) -> Results:
    """All figures of all clients."""
    results: Results = {}

    def note(peer: str, figures: dict[str, float]) -> None:
        mine = results.setdefault(peer, {})
        for name, value in figures.items():
            mine.setdefault(name, []).append(value)

    with replay_server() as urls:
        for number in range(sizes.rounds):
            say(f"round {number + 1} of {sizes.rounds}")
            note("parser", call_worker("parser", sizes))
            for name, peer in PEERS.items():
                note(name, call_worker("measure", sizes, peer=name, urls=urls))
                if peer.imports:
                    note(name, startup.imports(peer.imports))
            for name, program in startup.FRESH.items():
                note(name, startup.fresh(program, urls["coalesced"]))
            for name in _PACED:
                note(name, call_worker("pace", sizes, peer=name, urls=urls))
                note(name, call_worker("hold", sizes, peer=name, urls=urls))
    return results
