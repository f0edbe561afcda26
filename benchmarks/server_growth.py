"""How the local server's costs grow: `growth` says how to read it.

By the length of an answer it is the CPU time from the engine's events to chunks, or to a message,
with the events replayed: an engine itself slows down with the length of what it attends to.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from support.tiny_model import write_random
from tabbyapi.server.engine import Native
from tabbyapi.server.generation.chat_chunks import ChatChunks
from tabbyapi.server.generation.choices import Choice
from tabbyapi.server.generation.generate import Generation
from tabbyapi.server.generation.job import Finish, Job, Sink, Step

from .growth import Growth
from .local_server import PROMPT, Serving, drive, hold, serving
from .process import cpu_of
from .watched import cpu_of_process, memory_of_process

__all__ = ["measure_server_growth"]

_LENGTHS = (1000, 10_000, 100_000)
_NUMBERS = (10, 100, 1000)
_FEW = 20  # chunks of each of many streams
_AT_ONCE = 500  # events in each write of the replayed engine
_LOOP_WINDOW = 800  # the default of a request
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def measure_server_growth(divisor: int, say: Callable[[str], None]) -> list[Growth]:
    """Everything that must grow linearly; the sizes are divided by `divisor`."""
    lengths = [size // divisor for size in _LENGTHS]
    numbers = [max(1, size // divisor) for size in _NUMBERS]
    most = max(numbers) + 100
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        say("length of an answer")
        found = [
            Growth(title, lengths, asyncio.run(_answers(Path(folder), lengths, streamed)), 1)
            for title, streamed in (
                ("chunk of a stream (us CPU)", True),
                ("token of a whole answer (us CPU)", False),
            )
        ]
        say("number of streams")
        model = write_random(Path(folder) / "tiny.gguf", context=16_384)
        with serving(model, max_queue=most, max_connections=most) as served:
            costs = [_streams(served, number) for number in numbers]
            found.append(Growth("stream of 20 chunks, at once (us CPU)", numbers, costs, 1))
        spaces = []
        for number in numbers:
            # A server each: memory that another size has freed would be taken again.
            with serving(model, max_queue=most, max_connections=most) as served:
                spaces.append(_space(served, number))
        found.append(Growth("... memory of an open one (KiB)", numbers, spaces, 1))
    return found


def _event(number: int) -> bytes:
    token = number * 7919 % 997  # never goes round in the circles that would end the answer
    return b'data: {"content":" word","tokens":[%d],"stop":false}\n\n' % (token * (number % 89))


async def _answers(folder: Path, lengths: list[int], streamed: bool) -> list[float]:
    """The cost of a chunk for each length; the first one warms up."""
    length = 0

    async def replay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD)
        for start in range(0, length, _AT_ONCE):
            numbers = range(start, min(length, start + _AT_ONCE))
            writer.write(b"".join(_event(number) for number in numbers))
            await writer.drain()
        writer.write(b'data: {"content":"","stop":true,"stop_type":"limit"}\n\n')
        await writer.drain()
        writer.close()

    costs = []
    address = str(folder / f"{streamed}.sock")
    async with await asyncio.start_unix_server(replay, address):
        for length in [lengths[0], *lengths]:
            with cpu_of() as cost:
                await _answer(Native(address), streamed)
            costs.append(cost.per(length))
    return costs[1:]


async def _answer(native: Native, streamed: bool) -> None:
    chunks = ChatChunks("x", "replayed")
    choice = Choice(0, splitter=None, tools=None, logprobs=None)

    def put(step: Step) -> bool:
        out: list[bytes] = []
        if isinstance(step, Finish):
            choice.end = step
        elif streamed:
            chunks.deltas(out, choice, step)
        else:
            for delta in step:
                choice.feed(delta)
        return True

    async def drain() -> None:
        pass

    await Generation(Job([1], {}, loop_window=_LOOP_WINDOW), Sink(put, drain)).follow(native)
    assert choice.end is not None
    assert choice.end.eos_reason == "max_new_tokens"
    assert streamed or choice.message()["message"]["content"]


def _streams(served: Serving, number: int) -> float:
    job = served.ours.completion(PROMPT, _FEW)
    before = cpu_of_process(served.pid)
    drive(job, what="rate", streams=number)
    return (cpu_of_process(served.pid) - before) / number * 1e6


def _space(served: Serving, number: int) -> float:
    """Those that have no slot wait for one."""
    drive(served.ours.completion(PROMPT, 8), what="rate", streams=1)
    before = memory_of_process(served.pid)
    with hold(served.ours.completion(PROMPT, 1500), number, 1):
        return (memory_of_process(served.pid) - before) / number / 1024
