"""Mixed load for minutes: nothing grows, nothing is lost, nothing fails without a name.

`make soak` runs it for five minutes; `SOAK_SECONDS=60 make soak` for one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.tiny_model import write_markov, write_random
from tabbyapi import LocalServer
from tabbyapi._transport.aio import AsyncSocketTransport
from tabbyapi._transport.connect import Route

from .load import AsyncTap, Tally, admin, async_worker, sync_worker

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
SYNC_WORKERS = 3
ASYNC_WORKERS = 4
MIB = 1024 * 1024

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc"),
]


@dataclass(frozen=True)
class Reading:
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int


def reading(pid: int | str) -> Reading:
    folder = Path(f"/proc/{pid}")
    pages = int((folder / "statm").read_text().split()[1])
    return Reading(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list((folder / "fd").iterdir())),
        len(list((folder / "task").iterdir())),
    )


@pytest.mark.parametrize("seconds", [SECONDS], ids=lambda s: f"{s:g}s")
def test_a_mixed_load_leaves_nothing_behind(
    tmp_path: Path, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random(tmp_path / "babbler.gguf")
    write_markov(tmp_path / "speaker.gguf")
    tally, stop = Tally(), threading.Event()
    readings: dict[str, list[Reading]] = {"client": [], "server": []}
    gc.collect()
    before = reading("self")
    with LocalServer(model=tmp_path / "babbler.gguf", slots=3, max_queue=3) as server:
        work: list[tuple[Any, ...]] = [
            (sync_worker, server, tally, stop, i) for i in range(SYNC_WORKERS)
        ]
        work.append((admin, server, ["speaker", "babbler"], tally, stop))
        work.append((run_async, server, tally, stop))
        threads = [threading.Thread(target=each[0], args=each[1:]) for each in work]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(1)
                readings["client"].append(reading("self"))
                readings["server"].append(reading(server.pid or 0))
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a request never ended"
    gc.collect()
    after = reading("self")

    with capsys.disabled():
        report(tally, readings, seconds)
    assert not tally.unexpected, tally.unexpected[:10]
    expected = {"answers", "loads", "unloads", "streams left early", "tasks cancelled"}
    assert expected <= set(tally.outcomes)
    assert tally.outcomes["texts compared"] > seconds
    for name, taken in readings.items():
        early, late = thirds(taken)
        assert growth(early, late, "memory") < 24 * MIB, f"memory of the {name} grows"
        assert growth(early, late, "descriptors") < 8, f"descriptors of the {name} grow"
        assert growth(early, late, "threads") < 4, f"threads of the {name} grow"
    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads


def run_async(server: LocalServer, tally: Tally, stop: threading.Event) -> None:
    async def main() -> None:
        taps = [AsyncTap(AsyncSocketTransport(Route(server.url))) for _ in range(ASYNC_WORKERS)]
        clients = [server.async_client(transport=tap, retry=1) for tap in taps]
        try:
            await asyncio.gather(
                *(
                    async_worker(client, tap, tally, stop, 100 + i)
                    for i, (client, tap) in enumerate(zip(clients, taps, strict=True))
                )
            )
        finally:
            for client in clients:
                await client.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            tally.unexpected.append(f"tasks were left: {left}")

    asyncio.run(main())


def thirds(taken: list[Reading]) -> tuple[list[Reading], list[Reading]]:
    """The second and the last third: in the first, caches fill and both models are loaded."""
    third = max(1, len(taken) // 3)
    return taken[third : 2 * third], taken[-third:]


def growth(early: list[Reading], late: list[Reading], name: str) -> float:
    return median(late, name) - median(early, name)


def median(taken: list[Reading], name: str) -> float:
    return statistics.median(getattr(each, name) for each in taken)


def report(tally: Tally, readings: dict[str, list[Reading]], seconds: float) -> None:
    print(f"\n{seconds:g} s of {SYNC_WORKERS} threads and {ASYNC_WORKERS} tasks")
    for name, count in sorted(tally.outcomes.items()):
        print(f"  {name:28} {count:>9,}")
    print(f"  {'characters compared':28} {tally.characters:>9,}")
    for name, taken in readings.items():
        early, late = thirds(taken)
        for what, unit in (("memory", MIB), ("descriptors", 1), ("threads", 1)):
            first, last = median(early, what) / unit, median(late, what) / unit
            print(f"  {name} {what:20} {first:9.1f} -> {last:.1f}")
