"""The engine's process killed, stopped and stuck, at any moment: told, survived, cleared away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from uvicorn.loops.auto import auto_loop_factory

import tabbyapi
from support.processes import engines
from support.tiny_model import write_random
from tabbyapi.local_server import LocalServer
from tabbyapi.server.engine import Engine, EngineDied, EngineError, EngineSpec, EngineState
from tabbyapi.server.engine.process import _lines
from tabbyapi.server.model_files.files import open_model

from .conftest import ADMIN, API, CHAT, HELLO, Raw

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks processes up in /proc"
)

ENDLESS = {"max_tokens": 7000, "loop_detect_window": 0}


def processor_time(pid: int) -> int:
    """What a process has used of the processor, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine's folders are made here, and gone at the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    assert not list(tmp_path.glob("tabbyapi-*"))


@pytest.fixture
def own(random_model: Path) -> Iterator[LocalServer]:
    with LocalServer(random_model, api_keys=(API,), threads=1, engine_timeout=3) as server:
        yield server


def engine_of(server: LocalServer) -> int:
    assert server.pid is not None
    wait_until(lambda: engines(server.pid or 0))
    return engines(server.pid)[0]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_struck_engine_gives_back_what_had_arrived_and_returns(
    own: LocalServer, blow: signal.Signals
) -> None:
    engine = engine_of(own)
    with own.client() as client:
        name = client.models.get().id
        with (
            client.chat.create_stream(HELLO, max_tokens=7000) as stream,
            pytest.raises(tabbyapi.StreamError, match=r"engine stopped while answering") as caught,
        ):
            for count, _ in enumerate(stream):
                if count == 20:
                    os.kill(engine, blow)
        assert caught.value.partial is not None
        assert len(caught.value.partial.text) > 20
        # A request that meets the dead engine before the server has noticed is answered 503.
        wait_until(lambda: gone(engine) and engine_of(own) != engine)
        reply = client.chat.create(HELLO, max_tokens=3)
        assert reply.choices[0].finish_reason == "length"
        assert client.models.get().id == name


def test_a_request_in_the_instant_after_the_engines_death_is_answered(own: LocalServer) -> None:
    with own.client(retry=0) as client:
        for ask in (
            lambda: client.chat.create(HELLO, max_tokens=2).text,
            lambda: client.tokens.encode("Hello"),
            lambda: client.completions.create("Hello", max_tokens=2).text,
        ):
            os.kill(engine_of(own), signal.SIGKILL)
            assert ask()


def test_an_engine_stuck_before_it_is_asked_is_replaced_by_one_that_answers(
    own: LocalServer,
) -> None:
    os.kill(engine_of(own), signal.SIGSTOP)
    with own.client(retry=0) as client:
        assert client.chat.create(HELLO, max_tokens=2).text


def test_an_engine_stuck_in_the_middle_of_a_whole_answer_is_named(own: LocalServer) -> None:
    engine = engine_of(own)
    with own.client(retry=0) as client, ThreadPoolExecutor() as threads:
        answer = threads.submit(client.chat.create, HELLO, **ENDLESS)  # type: ignore[arg-type]
        busy = processor_time(engine)
        wait_until(lambda: processor_time(engine) > busy + 20)  # it is generating
        os.kill(engine, signal.SIGSTOP)
        with pytest.raises(tabbyapi.ServerError, match="engine"):
            answer.result()
        assert client.chat.create(HELLO, max_tokens=1).text


def test_dying_while_it_loads_again_is_survived_too(own: LocalServer) -> None:
    first = engine_of(own)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: gone(first))
    second = engine_of(own)
    os.kill(second, signal.SIGKILL)  # it takes a second to load
    with urllib3.PoolManager() as pool:
        raw = Raw(own, pool)
        wait_until(lambda: raw("GET", "/health").status == 200 and gone(second))
        assert raw.chat(max_tokens=2)["choices"]


def test_an_engine_that_keeps_dying_is_given_up_with_the_reason(random_model: Path) -> None:
    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        await engine.start()
        for _ in range(6):
            native = await engine.ready()
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(EngineDied):
                async for _events in native.complete({"prompt": [70], "n_predict": -1}):
                    pass
            await until(lambda: not engine.running)
        with pytest.raises(EngineError, match="died 5 times"):
            await engine.ready()
        assert engine.state is EngineState.FAILED
        await engine.stop()

    asyncio.run(scenario())


def test_a_load_that_hangs_is_given_up_with_the_reason(random_model: Path) -> None:
    async def scenario() -> None:
        spec = EngineSpec(random_model, n_ctx=512, slots=1, threads=1, load_timeout=0.5)
        engine = Engine(spec)
        start = asyncio.create_task(engine.start())
        await until(lambda: engine.pid)
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"random-tiny.*no progress for 0\.5 s"):
            await start
        assert gone(pid)

    asyncio.run(scenario())


def test_a_load_that_is_struck_down_is_told(random_model: Path) -> None:
    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        start = asyncio.create_task(engine.start())
        await until(lambda: engine.pid)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="status -9 while loading"):
            await start

    asyncio.run(scenario())


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, auto_loop_factory()])
def test_an_engine_that_is_dead_before_it_is_told_anything_is_told_of(
    random_model: Path, monkeypatch: pytest.MonkeyPatch, loops: Callable[[], Any] | None
) -> None:
    create = asyncio.create_subprocess_exec

    async def killed(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
        process = await create(*arguments, **options)
        process.kill()
        await process.wait()
        await asyncio.sleep(0)  # so that its pipes are closed
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", killed)
    engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
    with (
        asyncio.Runner(loop_factory=loops) as runner,
        pytest.raises(EngineError, match="status -9 while loading"),
    ):
        runner.run(engine.start())


def test_leaving_stops_the_engine_within_a_few_tokens(random_model: Path) -> None:
    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=8192, slots=1, threads=1))
        await engine.start()
        native = await engine.ready()
        for _ in range(5):
            answer = native.complete({"prompt": [70], "n_predict": -1, "ignore_eos": True})
            seen = 0
            async for events in answer:
                seen += sum(1 for event in events if event.content)
                if seen > 20:
                    break
            await answer.aclose()
            # The slots are reported between two tokens: left at one, it is free by the next ones.
            reports = 0
            while (await native.get("/slots"))[0]["is_processing"]:
                reports += 1
                assert reports < 50
        await engine.stop()

    asyncio.run(scenario())


def test_a_client_that_leaves_makes_room_for_the_next_one(random_model: Path) -> None:
    only = LocalServer(random_model, api_keys=(API,), threads=1, slots=1, max_queue=1)
    with only, urllib3.PoolManager(maxsize=2) as pool:
        raw = Raw(only, pool)
        for _ in range(10):
            stream = raw("POST", CHAT, ENDLESS | {"messages": HELLO, "stream": True}, stream=True)
            assert stream.read1(10)
            stream.close()
            assert raw.chat(max_tokens=1)["choices"]


def test_an_engine_comes_back_when_what_kept_it_from_starting_is_gone(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        await engine.start()
        native = await engine.ready()
        shutil.rmtree(folder)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.FAILED)
        begin = time.monotonic()
        for _ in range(3):
            with pytest.raises(EngineError, match=r"could not be started.*temporary"):
                await engine.ready(after=native)
        assert time.monotonic() - begin < 1
        folder.mkdir()
        await until(lambda: engine.running)
        assert (await (await engine.ready()).tokenize("a"))[-1:]
        assert engine.restarts == 1
        await engine.stop()
        assert engine.state is EngineState.STOPPED

    asyncio.run(scenario())


def test_an_engine_whose_socket_is_removed_is_replaced(random_model: Path) -> None:
    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        await engine.start()
        native = await engine.ready()
        os.unlink(Path(engine._folder, "engine.sock"))
        with pytest.raises(EngineDied) as caught:
            await native.tokenize("a")
        assert caught.value.lost
        successor = await engine.ready(after=native)
        assert successor is not native
        assert await successor.tokenize("a")
        await engine.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("deep", ["short", "d" * 120])
def test_any_folder_for_temporary_files_has_room_for_an_engine(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: str
) -> None:
    folder = tmp_path / deep
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    async def scenario() -> None:
        engine = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        await engine.start()
        assert await (await engine.ready()).tokenize("a")
        await engine.stop()

    asyncio.run(scenario())
    assert not list(folder.iterdir())


def test_a_start_removes_what_killed_engines_left_and_nothing_else(
    random_model: Path, tmp_path: Path
) -> None:
    dead, loading, foreign = (tmp_path / f"tabbyapi-{k}" for k in ("dead", "loading", "foreign"))
    for folder in (dead, loading, foreign):
        folder.mkdir()
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(dead / "engine.sock"))
    (foreign / "notes").write_text("mine")

    async def scenario() -> None:
        first = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        second = Engine(EngineSpec(random_model, n_ctx=512, slots=1, threads=1))
        await first.start()
        assert not dead.exists()
        await second.start()
        assert await (await first.ready()).tokenize("a")
        await first.stop()
        await second.stop()

    asyncio.run(scenario())
    assert {path.name for path in tmp_path.iterdir()} == {"tabbyapi-loading", "tabbyapi-foreign"}
    loading.rmdir()
    shutil.rmtree(foreign)


def test_a_model_whose_name_is_enormous_loads_and_dies_like_any_other(tmp_path: Path) -> None:
    model = write_random(tmp_path / "long.gguf", name="n" * 200_000)

    async def scenario() -> None:
        engine = Engine(EngineSpec(model, n_ctx=512, slots=1, threads=1))
        await engine.start()
        native = await engine.ready()
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        assert await (await engine.ready(after=native)).tokenize("a")
        await engine.stop()

    asyncio.run(scenario())
    assert len(open_model(model).title) <= 200


def test_lines_of_any_length_are_read_and_cut() -> None:
    async def scenario() -> list[int]:
        stream = asyncio.StreamReader()
        for size in (10, 70_000, 5_000_000):
            stream.feed_data(b"x" * size + b"\n")
        stream.feed_data(b"rest")
        stream.feed_eof()
        return [len(line) async for line in _lines(stream)]

    short, long, enormous, rest = asyncio.run(scenario())
    assert (short, long, rest) == (10, 70_000, 4)
    assert 1 << 20 <= enormous < 1_200_000


def test_a_model_that_was_given_up_can_be_loaded_again(random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    model = folder / "only.gguf"
    shutil.copy(random_model, model)
    with (
        LocalServer(model, api_keys=(API,), admin_key=ADMIN, threads=1) as server,
        server.client(retry=0) as client,
    ):
        hidden = model.rename(folder / "hidden")
        os.kill(engine_of(server), signal.SIGKILL)
        with pytest.raises(tabbyapi.ServerError, match=r"only\.gguf"):
            client.chat.create(HELLO, max_tokens=1)
        with urllib3.PoolManager() as pool:
            answer = Raw(server, pool)("GET", "/health")
        assert answer.status == 503
        assert "only.gguf" in answer.json()["issues"][-1]["description"]
        hidden.rename(model)
        client.models.load("only")
        assert client.chat.create(HELLO, max_tokens=1).usage
