"""Worker processes: jobs in turn, fairly; limits, cancelling and killing cost only the process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3
from uvicorn.loops.auto import auto_loop_factory

from tabbyapi.local_server import LocalServer
from tabbyapi.server.errors import HTTPError
from tabbyapi.server.grammar.checker import Grammar, GrammarChecker
from tabbyapi.server.prompt.templates import Renderer, TemplateError
from tabbyapi.server.workers.turns import CALLER, Caller, Turns
from tabbyapi.server.workers.worker import LimitExceeded, Worker, WorkerUnavailable

from .conftest import API, CHAT, HELLO, Raw

MODULE = "tabbyapi.server.grammar.child"
GOOD = b'start: "a"'
SLOW = b"start: /" + b"(a|b)?" * 40_000 + b"/"


def run(scenario: Callable[[Worker], Awaitable[Any]], **limits: Any) -> Any:
    async def whole() -> Any:
        worker = Worker(MODULE, **({"seconds": 2.0, "memory": 1 << 30} | limits))
        try:
            return await scenario(worker)
        finally:
            await worker.close()

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        return runner.run(whole())


def pid(worker: Worker) -> int:
    assert worker._process is not None
    return worker._process.pid


def test_jobs_are_answered_by_one_process() -> None:
    async def scenario(worker: Worker) -> None:
        await worker.start()
        first = pid(worker)
        answers = await asyncio.gather(*[worker.ask(GOOD) for _ in range(20)])
        assert answers == [b""] * 20
        assert pid(worker) == first

    run(scenario)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX has the signal")
def test_a_process_that_was_killed_while_idle_costs_no_job() -> None:
    async def scenario(worker: Worker) -> None:
        for blow in (signal.SIGKILL, signal.SIGTERM):
            await worker.ask(GOOD)
            os.kill(pid(worker), blow)
            assert await worker.ask(GOOD) == b""

    run(scenario)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX has the timer")
def test_a_job_that_takes_too_long_is_ended_and_named() -> None:
    async def scenario(worker: Worker) -> None:
        with pytest.raises(LimitExceeded, match=r"more than 0\.05 s"):
            await worker.ask(SLOW)
        assert await worker.ask(GOOD) == b""

    run(scenario, seconds=0.05)


def test_a_job_that_is_cancelled_leaves_no_answer_to_the_next_one() -> None:
    async def scenario(worker: Worker) -> None:
        await worker.start()
        for _ in range(3):
            task = asyncio.create_task(worker.ask(b"start: nosuch"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await worker.ask(GOOD) == b""

    run(scenario)


def test_a_worker_that_cannot_start_says_so_and_tries_again() -> None:
    async def scenario(worker: Worker) -> None:
        command = worker._command
        worker._command = ("/nonexistent/python", *command[1:])
        with pytest.raises(WorkerUnavailable, match="No such file"):
            await worker.ask(GOOD)
        worker._command = command
        assert await worker.ask(GOOD) == b""

    run(scenario)


def test_a_closed_worker_does_no_more_jobs() -> None:
    async def scenario(worker: Worker) -> None:
        await worker.start()
        asked = asyncio.create_task(worker.ask(SLOW))
        await asyncio.sleep(0.05)
        await worker.close()
        with pytest.raises(WorkerUnavailable, match="stopping"):
            await asked
        with pytest.raises(WorkerUnavailable, match="stopping"):
            await worker.ask(GOOD)

    run(scenario, seconds=30)


def test_an_ended_process_leaves_no_open_pipe() -> None:
    async def scenario() -> None:
        worker = Worker(MODULE, seconds=1, memory=1 << 30)
        await worker.ask(GOOD)
        await worker.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(scenario())
        gc.collect()
    assert not [str(w.message) for w in caught if "transport" in str(w.message)]


# ----------------------------------------------------------------------------- turns


async def order_of(jobs: list[tuple[str, Caller, int]]) -> list[str]:
    """The order in which jobs get their turn that come while another one of "a" has it."""
    turns, done = Turns(), list[str]()

    async def job(name: str, caller: Caller, size: int) -> None:
        CALLER.set(caller)
        async with turns.turn(size):
            await asyncio.sleep(0.01)
            done.append(name)

    tasks = []
    for each in [("first", Caller("a", "1"), 1), *jobs]:
        tasks.append(asyncio.create_task(job(*each)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return done


def test_turns_go_to_the_key_then_the_connection_that_used_least_then_to_small_jobs() -> None:
    jobs = [
        ("a again", Caller("a", "1"), 1),
        ("a elsewhere", Caller("a", "2"), 1),
        ("b large", Caller("b", "3"), 9),
        ("c small", Caller("c", "4"), 2),
    ]
    order = asyncio.run(order_of(jobs))
    assert order == ["first", "c small", "b large", "a elsewhere", "a again"]


def test_a_turn_that_is_cancelled_is_passed_on() -> None:
    async def scenario() -> None:
        turns = Turns()

        async def hold() -> None:
            async with turns.turn(1):
                await asyncio.sleep(0.01)

        for stop_at in range(4):
            tasks = [asyncio.create_task(hold()) for _ in range(5)]
            await asyncio.sleep(0)
            tasks[stop_at].cancel()
            await asyncio.sleep(0.01)
            tasks[stop_at + 1].cancel()
            async with asyncio.timeout(5):
                await asyncio.gather(*tasks, return_exceptions=True)
                await hold()

    asyncio.run(scenario())


def test_the_same_grammar_is_checked_once_and_a_known_one_does_not_wait() -> None:
    async def scenario() -> None:
        checker = GrammarChecker()
        good = Grammar("%llguidance {}\n" + GOOD.decode(), "grammar_string")
        bad = Grammar("%llguidance {}\nstart: /" + "(a|b)?" * 40_000 + "/", "regex_pattern")
        await checker.check(good)
        begin = time.monotonic()
        checks = [asyncio.create_task(checker.check(bad)) for _ in range(20)]
        await asyncio.sleep(0.1)
        known = time.monotonic()
        await checker.check(good)
        assert time.monotonic() - known < 0.2
        for check in checks:
            with pytest.raises(HTTPError, match="regex_pattern cannot be enforced"):
                await check
        assert time.monotonic() - begin < 20  # not twenty times as long as one
        await checker.close()

    asyncio.run(scenario())


def test_slow_patterns_of_one_client_do_not_hold_up_the_schemas_of_others(
    random_model: Any,
) -> None:
    server = LocalServer(random_model, api_keys=(API,), threads=1, n_ctx=512, slots=4)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with server, urllib3.PoolManager(maxsize=8) as pool, ThreadPoolExecutor(8) as threads:
        raw = Raw(server, pool)
        raw.chat(max_tokens=1, json_schema=schema)
        slow = [
            threads.submit(
                raw, "POST", CHAT,
                {"messages": HELLO, "regex_pattern": "(a|b)?" * (40_000 + k), "max_tokens": 1},
            )
            for k in range(6)
        ]  # fmt: skip
        time.sleep(0.3)
        begin = time.monotonic()
        fresh = {"type": "object", "properties": {"b": {"type": "string"}}}
        raw.chat(max_tokens=1, json_schema=fresh)
        assert time.monotonic() - begin < 3
        assert {answer.result().status for answer in slow} <= {400, 503}


def test_a_render_that_is_left_is_not_waited_for() -> None:
    async def scenario() -> None:
        renderer = Renderer(seconds=20)
        endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        template = await renderer.compile(endless, "endless")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await template.render({})
        begin = time.monotonic()
        assert await (await renderer.compile("{{ 1 }}", "quick")).render({}) == "1"
        assert time.monotonic() - begin < 10
        with pytest.raises(TemplateError):
            await renderer.compile("{% if %}", "broken")
        await renderer.close()

    asyncio.run(scenario())
