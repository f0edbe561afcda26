"""A batch against the local server with its real engine, stopped and started in the middle."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest

import tabbyapi
from tabbyapi.batch import BatchTotals, Defaults, run_batch


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_no_line_is_lost_or_cut_short(tiny_model: Path, free_port: int, tmp_path: Path) -> None:
    server = tabbyapi.LocalServer(model=tiny_model, port=free_port)
    output = tmp_path / "out.jsonl"
    lines = [json.dumps(f"Say {i}.").encode() for i in range(120)]
    restarts: list[threading.Thread] = []

    def restart() -> None:
        server.stop()
        server.start()

    def progress(totals: BatchTotals) -> None:
        if totals.done in (20, 70):
            restarts.append(threading.Thread(target=restart))
            restarts[-1].start()

    async def run() -> BatchTotals:
        async with server.async_client(retry=0) as client:
            return await run_batch(
                client,
                lines,
                output,
                defaults=Defaults(params={"max_tokens": 20, "min_tokens": 20}),
                on_progress=progress,
                wait=60,
            )

    with server:
        totals = asyncio.run(run())
        for thread in restarts:
            thread.join()
    results = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert (totals.done, totals.failed, len(restarts)) == (120, 0, 2)
    assert [result["index"] for result in results] == list(range(120))
    counts = {result["response"]["body"]["usage"]["completion_tokens"] for result in results}
    assert counts == {20}
