"""What is measured of a blocking client. `measure_async` is its twin."""

from __future__ import annotations

import statistics
import time
from typing import Any

from .peers import MESSAGES, Peer
from .process import cpu_of
from .sizes import Sizes, streams_of

__all__ = ["measure"]

_FEW = 20  # chunks of a stream of which only the first matters


def _drain(client: Any, count: int) -> int:
    seen = 0
    with client.stream(count) as chunks:
        for _ in chunks:
            seen += 1
    if seen < count:
        raise RuntimeError(f"{seen} of {count} chunks arrived")
    return seen


def _first(client: Any) -> float:
    """Milliseconds from the call to the first chunk."""
    started = time.perf_counter()
    with client.stream(_FEW) as chunks:
        each = iter(chunks)
        next(each)
        took = time.perf_counter() - started
        for _ in each:
            pass
    return took * 1e3


def _cold(make: Any, url: str) -> float:
    started = time.perf_counter()
    client = make(url)
    setup = time.perf_counter() - started
    took = setup * 1e3 + _first(client)
    client.close()
    return took


def measure(peer: Peer, urls: dict[str, str], sizes: Sizes) -> dict[str, float]:
    """Every figure of one client, in this process."""
    make = peer.load()
    result: dict[str, float] = {}
    for mode, count in streams_of(sizes):
        client = make(urls[mode])
        _drain(client, _FEW)
        with cpu_of() as cost:
            seen = _drain(client, count)
        result[f"{mode}_us"] = cost.per(seen)
        client.close()

    client = make(urls["coalesced"])
    history = MESSAGES[:1] + MESSAGES[1:] * (sizes.history - 1)
    for name, messages in (("request_us", MESSAGES), ("history_us", history)):
        client.request(messages)
        with cpu_of() as cost:
            for _ in range(sizes.requests):
                client.request(messages)
        result[name] = cost.per(sizes.requests)
    _first(client)
    result["warm_ms"] = statistics.median(_first(client) for _ in range(sizes.first))
    client.close()
    result["cold_ms"] = statistics.median(_cold(make, urls["coalesced"]) for _ in range(sizes.cold))
    return result
