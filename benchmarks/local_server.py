"""What the local server adds to its engine: both driven with the same requests, in turns.

The engine's own listener is llama.cpp's HTTP server, read with the client that the local server
itself uses for it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from tabbyapi import AsyncClient, LocalServer, assistant, system, user
from tabbyapi.server.engine import Engine, EngineSpec
from tabbyapi.server.models import default_model
from tabbyapi.server.settings import Settings

__all__ = ["measure_server", "server_table"]

_PROMPT = "<|im_start|>user\nTell me about the sea.<|im_end|>\n<|im_start|>assistant\n"
_STREAMS = (1, 8, 32)
_SLOTS = 32


@asynccontextmanager
async def _bare(model: Path) -> AsyncIterator[Engine]:
    spec = EngineSpec(model, n_ctx=2048 * _SLOTS, slots=_SLOTS, threads=Settings().engine_threads)
    engine = Engine(spec)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def _engine_stream(engine: Engine, tokens: int) -> int:
    native = await engine.ready()
    payload = {"prompt": _PROMPT, "n_predict": tokens, "ignore_eos": True, "temperature": 0}
    seen = 0
    async with aclosing(native.complete(payload)) as batches:
        async for batch in batches:
            seen += len(batch)
    return seen


async def _server_stream(client: AsyncClient, tokens: int) -> int:
    seen = 0
    options = {"max_tokens": tokens, "ban_eos_token": True, "temperature": 0}
    async with client.completions.create_stream(_PROMPT, **options) as stream:  # type: ignore[arg-type]
        async for _ in stream:
            seen += 1
    return seen


async def _rate(stream: Callable[[], object], count: int) -> float:
    """Chunks a second of so many streams at once."""
    started = time.perf_counter()
    seen = await asyncio.gather(*(stream() for _ in range(count)))  # type: ignore[call-overload]
    return float(sum(seen)) / (time.perf_counter() - started)


async def _first(client: AsyncClient, messages: list[object]) -> tuple[float, str]:
    """Milliseconds to the first chunk, and the answer."""
    started = time.perf_counter()
    async with client.chat.create_stream(messages, max_tokens=8, temperature=0) as stream:  # type: ignore[arg-type]
        each = aiter(stream)
        await anext(each)
        took = time.perf_counter() - started
        async for _ in each:
            pass
        return took * 1e3, stream.response.text


async def _turns(client: AsyncClient, number: int) -> float:
    """Time to the first chunk on the second turn against the first, after a long instruction."""
    told = " ".join(f"Rule {n} of {number}: be kind." for n in range(140))
    messages: list[object] = [system(told), user("Hello")]
    cold, text = await _first(client, messages)
    warm, _ = await _first(client, [*messages, assistant(text), user("And then?")])
    return warm / cold


def measure_server(rounds: int, tokens: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """The ratios of each round."""
    return asyncio.run(_measure(rounds, tokens, say))


async def _measure(rounds: int, tokens: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with LocalServer(slots=_SLOTS, n_ctx=2048 * _SLOTS) as server:
        async with _bare(default_model()) as engine, server.async_client() as client:
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                for count in _STREAMS:
                    bare = await _rate(lambda: _engine_stream(engine, tokens), count)
                    ours = await _rate(lambda: _server_stream(client, tokens), count)
                    found.setdefault(f"chunks a second, {count} streams", []).append(ours / bare)
                second = await _turns(client, number)
                found.setdefault("first chunk, second turn against first", []).append(second)
    return found


def server_table(found: dict[str, list[float]]) -> str:
    """A row for each ratio."""
    lines = ["| local server | median | spread |", "|---|--:|--:|"]
    for name, values in found.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        lines.append(f"| {name} | {statistics.median(values):.2f}x | {spread} |")
    return "\n".join(lines)
