"""Chat over data sets: errors beside the rows, order, schemas, files, a worker that is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tabbyapi import ValidationError

from .scripted import Backend, Listener, replicas

pytestmark = pytest.mark.ray


class Echo(Backend):
    """Answers with the last message; refuses "bad"."""

    async def chat(self, body: Any, receive: Any, send: Any) -> None:
        text = body["messages"][-1]["content"]
        if text == "bad":
            await self.reply(send, {"detail": "that is bad"}, 400)
            return
        if body.get("json_schema"):
            text = json.dumps({"name": text})
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        await self.reply(send, answer | {"choices": [choice]}, 200)


@pytest.fixture
def echo(cluster: None) -> Iterator[Backend]:
    backend = Echo("echo")
    yield backend
    listener: Listener = backend.listener
    listener.stop()


def test_each_row_has_its_answer_or_its_error_in_order(echo: Backend) -> None:
    import ray

    from tabbyapi.ray.data import chat_batch

    rows = [{"id": i, "prompt": "bad" if i % 10 == 3 else f"row {i}"} for i in range(60)]
    ds = ray.data.from_items(rows, override_num_blocks=6)
    done = chat_batch(ds, endpoint=echo.url, concurrency=1, preserve_order=True).take_all()
    assert [row["id"] for row in done] == list(range(60))
    for row in done:
        if row["prompt"] == "bad":
            assert row["answer"] is None
            assert "invalid_request" in row["error"]
        else:
            assert (row["answer"], row["error"]) == (row["prompt"], None)


def test_values_of_a_type_are_json(echo: Backend) -> None:
    import ray

    from tabbyapi.ray.data import chat_batch

    @dataclass
    class Named:  # here, because the workers cannot import this module
        name: str

    rows = [{"messages": [{"role": "user", "content": name}]} for name in ("Ada", "Alan")]
    done = chat_batch(
        ray.data.from_items(rows), "messages", schema=Named, endpoint=echo.url, concurrency=1
    ).take_all()
    assert {row["answer"] for row in done} == {'{"name":"Ada"}', '{"name":"Alan"}'}


def test_a_killed_worker_loses_and_repeats_no_row(echo: Backend, tmp_path: Path) -> None:
    import ray

    from tabbyapi.ray.data import chat_files

    source = tmp_path / "in.jsonl"
    source.write_text(
        "".join(json.dumps({"id": i, "prompt": f"row {i}"}) + "\n" for i in range(2000))
    )
    killed: list[int] = []

    def kill() -> None:
        while len(echo.seen) < 300:
            time.sleep(0.02)
        killed.append(replicas("ray::MapWorker")[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    failed = chat_files(source, tmp_path / "out.parquet", endpoint=echo.url, concurrency=1)
    killer.join()
    assert killed
    assert failed == 0
    found = ray.data.read_parquet(str(tmp_path / "out.parquet")).take_all()
    assert sorted(row["id"] for row in found) == list(range(2000))
    assert all(row["answer"] == f"row {row['id']}" for row in found)


def test_what_cannot_be_is_refused_before_any_work(cluster: None, tmp_path: Path) -> None:
    import ray

    from tabbyapi.ray.data import chat_batch, chat_files

    ds = ray.data.from_items([{"prompt": "a"}])
    with pytest.raises(ValidationError, match="either endpoint or model"):
        chat_batch(ds, endpoint="http://localhost:1", model="m.gguf")
    with pytest.raises(ValidationError, match=r"\.jsonl or \.parquet"):
        chat_files(tmp_path / "in.csv", tmp_path / "out.jsonl")
