"""What is measured of an asyncio client. `measure_sync` is its twin."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from .peers import MESSAGES, Peer, age_of
from .process import cpu_of, memory
from .replay import MODES
from .sizes import Sizes, streams_of

__all__ = ["hold", "measure", "pace"]

_FEW = 20  # chunks of a stream of which only the first matters


async def _drain(client: Any, count: int) -> int:
    seen = 0
    async with client.stream(count) as chunks:
        async for _ in chunks:
            seen += 1
    if seen < count:
        raise RuntimeError(f"{seen} of {count} chunks arrived")
    return seen


async def _first(client: Any) -> float:
    """Milliseconds from the call to the first chunk."""
    started = time.perf_counter()
    async with client.stream(_FEW) as chunks:
        each = aiter(chunks)
        await anext(each)
        took = time.perf_counter() - started
        async for _ in each:
            pass
    return took * 1e3


async def _cold(make: Any, url: str) -> float:
    started = time.perf_counter()
    client = make(url)
    setup = time.perf_counter() - started
    took = setup * 1e3 + await _first(client)
    await client.close()
    return took


async def _requests(client: Any, count: int, messages: list[Any]) -> None:
    for _ in range(count):
        await client.request(messages)


async def measure(peer: Peer, urls: dict[str, str], sizes: Sizes) -> dict[str, float]:
    """Every figure of one client, in this process."""
    make = peer.load()
    result: dict[str, float] = {}
    for mode, count in streams_of(sizes):
        client = make(urls[mode])
        await _drain(client, _FEW)
        with cpu_of() as cost:
            seen = await _drain(client, count)
        result[f"{mode}_us"] = cost.per(seen)
        await client.close()

    client = make(urls["coalesced"])
    history = MESSAGES[:1] + MESSAGES[1:] * (sizes.history - 1)
    for name, messages in (("request_us", MESSAGES), ("history_us", history)):
        await client.request(messages)
        with cpu_of() as cost:
            await _requests(client, sizes.requests, messages)
        result[name] = cost.per(sizes.requests)

    flights = [1 + sizes.requests // 16] * sizes.in_flight
    await asyncio.gather(*(client.request(MESSAGES) for _ in flights))
    with cpu_of() as cost:
        await asyncio.gather(*(_requests(client, count, MESSAGES) for count in flights))
    result["in_flight_us"] = cost.per(sum(flights))

    await _first(client)
    result["warm_ms"] = statistics.median([await _first(client) for _ in range(sizes.first)])
    await client.close()
    result["cold_ms"] = statistics.median(
        [await _cold(make, urls["coalesced"]) for _ in range(sizes.cold)]
    )
    return result


async def pace(peer: Peer, urls: dict[str, str], sizes: Sizes) -> dict[str, float]:
    """Many streams at 50 chunks a second each: what latency is added, and the CPU it takes.

    A client that cannot keep up is stopped after the time is over; what it had is counted.
    """
    client = peer.load()(urls["paced"])
    count = round(sizes.seconds / MODES["paced"])
    await _drain(client, 3)
    ages: list[float] = []
    text = client.text

    async def follow() -> None:
        async with client.stream(count) as chunks:
            async for chunk in chunks:
                stamp = text(chunk)
                if stamp:
                    ages.append(age_of(stamp))

    with cpu_of() as cost:
        started = time.perf_counter()
        tasks = [asyncio.create_task(follow()) for _ in range(sizes.streams)]
        done, late = await asyncio.wait(tasks, timeout=sizes.seconds * 3)
        took = time.perf_counter() - started
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    await client.close()
    # The first fifth is left out: all connections are made in it, at once.
    ages = sorted(ages[len(ages) // 5 :])
    return {
        "p50_ms": ages[len(ages) // 2] * 1e3,
        "p99_ms": ages[int(len(ages) * 0.99)] * 1e3,
        "paced_us": cost.per(max(1, len(ages) * 5 // 4)),
        "cores": cost.seconds / took,
        "unfinished": float(len(late)),
    }


async def hold(peer: Peer, urls: dict[str, str], sizes: Sizes) -> dict[str, float]:
    """Memory of one stream: many are opened, and looked at while they run."""
    client = peer.load()(urls["paced"])
    arrived = asyncio.Semaphore(0)
    enough = asyncio.Event()

    async def follow() -> None:
        async with client.stream(100_000) as chunks:
            seen = 0
            async for _ in chunks:
                seen += 1
                if seen == 3:
                    arrived.release()
                if enough.is_set():
                    break

    await _drain(client, 3)
    before = memory()
    tasks = [asyncio.create_task(follow()) for _ in range(sizes.memory)]
    for _ in tasks:
        await arrived.acquire()
    used = memory() - before
    enough.set()
    await asyncio.gather(*tasks)
    await client.close()
    return {"stream_kib": used / sizes.memory / 1024}
