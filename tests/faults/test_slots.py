"""However a generation is left, the server stops it: its slot is free for the next request."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tabbyapi
from tabbyapi import LocalServer, user

LONG: dict[str, Any] = {"max_tokens": 60_000, "ban_eos_token": True}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with one slot and no queue, and a model that talks for a long time."""
    from support.tiny_model import write_random

    model = write_random(tmp_path_factory.mktemp("slots") / "long.gguf", context=65_536)
    with LocalServer(model=model, n_ctx=65_536, slots=1, max_queue=0) as server:
        yield server


def is_free(server: LocalServer) -> bool:
    """Whether the slot is free, or becomes so long before the generation would have ended."""
    with server.client(retry=0) as client:
        for _ in range(100):
            try:
                client.chat.create([user("Hi")], max_tokens=1)
            except tabbyapi.ServerError as error:
                if error.status_code != 503:
                    raise
                time.sleep(0.05)
            else:
                return True
    return False


def begun(client: tabbyapi.Client) -> Any:
    stream = client.chat.create_stream([user("Go on and on.")], **LONG)
    next(stream)
    return stream


def by_close(client: tabbyapi.Client) -> None:
    begun(client).close()


def by_leaving_the_block(client: tabbyapi.Client) -> None:
    with begun(client) as stream:
        for n, _ in enumerate(stream):
            if n == 5:
                break


def by_an_exception(client: tabbyapi.Client) -> None:
    with pytest.raises(ZeroDivisionError), begun(client) as stream:
        next(stream)
        _ = 1 / 0


def by_another_thread(client: tabbyapi.Client) -> None:
    stream = begun(client)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            for _ in stream:
                pass
        except tabbyapi.StreamClosedError as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    stream.close()
    reader.join(10)
    assert not reader.is_alive()
    (error,) = ended
    assert error.partial.text  # type: ignore[attr-defined]


def by_forgetting(client: tabbyapi.Client) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begun(client)
        gc.collect()
    assert ResourceWarning in [warning.category for warning in caught]


def by_a_timeout(client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.StreamTimeout):
        client.chat.create_stream([user("Go on.")], timeout=0.3, **LONG).until_done()


def by_a_timeout_of_a_plain_answer(client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.RequestTimeout):
        client.chat.create([user("Go on.")], timeout=0.3, **LONG)


def by_closing_the_client_after_the_stream(client: tabbyapi.Client) -> None:
    stream = begun(client)
    client.close()
    next(stream)  # a client that is closed takes no new calls; its streams go on
    stream.close()


@pytest.mark.parametrize(
    "leave",
    [
        by_close,
        by_leaving_the_block,
        by_an_exception,
        by_another_thread,
        by_forgetting,
        by_a_timeout,
        by_a_timeout_of_a_plain_answer,
        by_closing_the_client_after_the_stream,
    ],
    ids=lambda leave: leave.__name__,
)
def test_left(single: LocalServer, leave: Callable[[tabbyapi.Client], None]) -> None:
    with single.client(retry=0) as client:
        leave(client)
    assert is_free(single)


async def by_cancelling_the_task(client: tabbyapi.AsyncClient) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async with client.chat.create_stream([user("Go on.")], **LONG) as stream:
            async for _ in stream:
                started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_a_plain_answer(client: tabbyapi.AsyncClient) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.chat.create([user("Go on.")], **LONG)


async def by_a_failing_task_group(client: tabbyapi.AsyncClient) -> None:
    async def read() -> None:
        async with client.chat.create_stream([user("Go on.")], **LONG) as stream:
            async for _ in stream:
                pass

    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(fail())


async def by_closing(client: tabbyapi.AsyncClient) -> None:
    stream = await client.chat.create_stream([user("Go on.")], **LONG)
    await anext(stream)
    await stream.close()


async def by_leaving_the_async_block(client: tabbyapi.AsyncClient) -> None:
    async with client.chat.create_stream([user("Go on.")], **LONG) as stream:
        async for _ in stream:
            break


async def by_forgetting_it(client: tabbyapi.AsyncClient) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = await client.chat.create_stream([user("Go on.")], **LONG)
        await anext(stream)
        del stream
        gc.collect()
    assert ResourceWarning in [warning.category for warning in caught]


@pytest.mark.parametrize(
    "leave",
    [
        by_cancelling_the_task,
        by_cancelling_a_plain_answer,
        by_a_failing_task_group,
        by_closing,
        by_leaving_the_async_block,
        by_forgetting_it,
    ],
    ids=lambda leave: leave.__name__,
)
def test_left_in_asyncio(single: LocalServer, leave: Callable[..., Any]) -> None:
    async def main() -> None:
        async with single.async_client(retry=0) as client:
            await leave(client)

    asyncio.run(main())
    assert is_free(single)


PROGRAM = """
    import os, signal, sys, tabbyapi
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    client = tabbyapi.Client(sys.argv[1], api_key=sys.argv[2])
    stream = client.chat.create_stream(
        [tabbyapi.user("Go on.")], max_tokens=60_000, ban_eos_token=True)
    next(stream)
    print("begun", flush=True)
"""


def program(server: LocalServer, more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM + more), server.url, server.api_key],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    ("more", "number"),
    [
        ("", None),
        ("    sys.exit(3)\n", None),
        ("    os._exit(0)\n", None),
        ("    for _ in stream: pass\n", signal.SIGINT),
        ("    for _ in stream: pass\n", signal.SIGTERM),
        ("    for _ in stream: pass\n", signal.SIGKILL),
    ],
    ids=["its end", "sys.exit", "os._exit", "ctrl-c", "terminated", "killed"],
)
def test_left_by_the_end_of_the_program(single: LocalServer, more: str, number: int | None) -> None:
    process = program(single, more)
    if number is not None:
        process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert "Exception ignored" not in said
    assert is_free(single)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_reads_nor_ends_its_parents_stream(single: LocalServer) -> None:
    more = """
    if os.fork() == 0:
        try:
            for _ in stream: pass  # what the parent had received, and no more
        except tabbyapi.StreamClosedError as error:
            print("child:", error, flush=True)
        stream.close()
        sys.exit(0)
    os.wait()
    for _ in range(200):
        next(stream)
    print("parent: goes on")
    stream.close()
    client.close()
    """
    process = program(single, more)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:  # `communicate` would miss what was read together with the first line
        out, said = process.stdout.read(), process.stderr.read()
    assert "another process" in out, said
    assert "parent: goes on" in out
    assert process.returncode == 0, said
    assert is_free(single)
