"""Leaving early: from another thread, by cancelling, by closing, by forgetting."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.replay import ReplayServer

import tabbyapi
from tabbyapi import user

from .replies import DONE, GOOD, streamed, text_event

ENDLESS = streamed(text_event("first"), end=False, then="hang")
WHOLE = streamed(text_event("a"), text_event("b"), DONE)


def test_closing_a_stream_leaves_the_server_at_once() -> None:
    with ReplayServer(ENDLESS) as server, tabbyapi.Client(server.url) as client:
        stream = client.chat.create_stream([user("Hello")])
        assert next(stream).text == "first"
        stream.close()
        assert server.left.wait(5)
        stream.close()
        with pytest.raises(tabbyapi.StreamClosedError) as caught:
            next(iter(stream))
    assert caught.value.partial.text == "first"


def test_leaving_the_with_block_closes_the_stream() -> None:
    with ReplayServer(ENDLESS) as server, tabbyapi.Client(server.url) as client:
        with client.chat.create_stream([user("Hello")]) as stream:
            for _ in stream:
                break
        assert stream.closed
        assert server.left.wait(5)


def test_iteration_goes_on_where_it_was_left() -> None:
    with (
        ReplayServer(WHOLE) as server,
        tabbyapi.Client(server.url) as client,
        client.chat.create_stream([user("Hello")]) as stream,
    ):
        for chunk in stream:
            assert chunk.text == "a"
            break
        assert stream.response.text == "a"
        assert [chunk.text for chunk in stream] == ["b"]
        assert stream.response.text == "ab"


def test_a_reader_blocked_in_another_thread_is_woken_by_close() -> None:
    seen: list[BaseException] = []
    with ReplayServer(ENDLESS) as server, tabbyapi.Client(server.url) as client:
        stream = client.chat.create_stream([user("Hello")])
        started = threading.Event()

        def read() -> None:
            try:
                for _ in stream:
                    started.set()
            except tabbyapi.TabbyError as error:
                seen.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert started.wait(5)
        stream.close()
        reader.join(5)
        assert not reader.is_alive()
    (error,) = seen
    assert isinstance(error, tabbyapi.StreamClosedError)
    assert error.partial.text == "first"


def test_cancelling_a_task_closes_its_stream() -> None:
    async def main() -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            started = asyncio.Event()

            async def read() -> None:
                async with client.chat.create_stream([user("Hello")]) as stream:
                    async for _ in stream:
                        started.set()

            task = asyncio.create_task(read())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.left.wait, 5)

    with ReplayServer(ENDLESS) as server:
        asyncio.run(main())


def test_cancelling_a_request_drops_its_connection() -> None:
    from tests.support.replay import Reply

    async def main() -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.chat.create([user("Hello")])
            assert await asyncio.to_thread(server.left.wait, 5)

    with ReplayServer(Reply([], "hang")) as server:
        asyncio.run(main())


def test_a_stream_can_be_awaited_instead_of_entered() -> None:
    async def main() -> list[str]:
        async with tabbyapi.AsyncClient(server.url) as client:
            stream = await client.chat.create_stream([user("Hello")])
            texts = [text async for text in stream.text_deltas()]
            assert (await client.chat.create_stream([user("Hello")]).until_done()).text == "ab"
            await stream.close()
            return texts

    with ReplayServer(WHOLE) as server:
        assert asyncio.run(main()) == ["a", "b"]


def test_two_tasks_that_read_one_stream_are_told() -> None:
    async def main() -> None:
        async with (
            tabbyapi.AsyncClient(server.url) as client,
            client.chat.create_stream([user("Hello")]) as stream,
        ):
            await anext(stream)
            one, other = (asyncio.ensure_future(anext(stream)) for _ in range(2))
            with pytest.raises(RuntimeError, match="two tasks"):
                await other
            assert not one.done()
            await stream.close()
            with pytest.raises(tabbyapi.StreamClosedError):
                await one

    with ReplayServer(ENDLESS) as server:
        asyncio.run(main())


def test_a_forgotten_stream_warns_and_is_closed() -> None:
    with ReplayServer(ENDLESS) as server, tabbyapi.Client(server.url) as client:
        stream = client.chat.create_stream([user("Hello")])
        next(stream)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del stream
            gc.collect()
        assert server.left.wait(5)
    assert [w.category for w in caught] == [ResourceWarning]
    assert "with" in str(caught[0].message)


def test_a_closed_client_says_so() -> None:
    with ReplayServer(GOOD) as server:
        client = tabbyapi.Client(server.url)
        client.close()
        client.close()
        with pytest.raises(tabbyapi.RequestError, match="closed"):
            client.chat.create([user("Hello")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_client_is_not_used_across_fork() -> None:
    program = """
        import os, sys, tabbyapi
        client = tabbyapi.Client(sys.argv[1])
        client.chat.create([tabbyapi.user("Hello")])
        if os.fork() == 0:
            try:
                client.chat.create([tabbyapi.user("Hello")])
            except tabbyapi.RequestError as error:
                print(error, flush=True)
            os._exit(0)
        os.wait()
        client.close()
    """
    with ReplayServer(GOOD) as server:
        out = _python(program, server.url)
    assert "after fork" in out.stdout
    assert out.returncode == 0
    assert len(server.requests) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("leave", ["client.close()", "del client", "pass"])
def test_a_forked_child_leaves_its_parents_connections_alone(leave: str) -> None:
    program = f"""
        import os, sys, tabbyapi
        client = tabbyapi.Client(sys.argv[1])
        client.chat.create([tabbyapi.user("Hello")])
        if os.fork() == 0:
            {leave}
            sys.exit(0)
        os.wait()
        client.chat.create([tabbyapi.user("Hello")])
        client.close()
    """
    with ReplayServer(GOOD) as server:
        out = _python(program, server.url)
    assert (out.returncode, out.stderr) == (0, "")
    assert {request.connection for request in server.requests} == {0}


def test_ctrl_c_ends_a_stream_and_its_generation() -> None:
    program = """
        import sys, tabbyapi
        with tabbyapi.Client(sys.argv[1]) as client:
            try:
                with client.chat.create_stream([tabbyapi.user("Hello")]) as stream:
                    for chunk in stream:
                        print(chunk.text, flush=True)
            except KeyboardInterrupt:
                print("interrupted after", stream.response.text, flush=True)
    """
    with ReplayServer(ENDLESS) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), server.url],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert server.left.wait(5)
    assert out == "interrupted after first\n"
    assert process.returncode == 0


def test_leaving_python_in_the_middle_of_a_stream_is_quiet() -> None:
    program = """
        import sys, tabbyapi
        client = tabbyapi.Client(sys.argv[1])
        stream = client.chat.create_stream([tabbyapi.user("Hello")])
        print(next(stream).text)
    """
    with ReplayServer(ENDLESS) as server:
        out = _python(program, server.url)
    assert (out.returncode, out.stdout) == (0, "first\n")
    assert "Traceback" not in out.stderr


def test_clients_that_nobody_closed_leave_quietly() -> None:
    program = """
        import sys, tabbyapi
        def ask():
            client = tabbyapi.Client(sys.argv[1])
            client.chat.create([tabbyapi.user("Hello")])
            return client
        ask()
        kept = ask()
    """
    with ReplayServer(GOOD) as server:
        out = _python(program, server.url)
    assert (out.returncode, out.stderr) == (0, "")


def _python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


TOGETHER = streamed(b"".join(map(text_event, "abc")), end=False, then="hang")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["next", "loop", "async"])
def test_a_forked_child_gets_no_chunk_that_was_read_before_the_fork(how: str) -> None:
    def in_child(read: Callable[[], object], stream: Any) -> None:
        """Fork; the child ends with 0 if reading raises, and it holds what the parent had read."""
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            return
        status = 1
        try:
            read()
        except tabbyapi.StreamClosedError as error:
            same = error.partial.text == stream.response.text == "a"
            status = 0 if same and "another process" in str(error) else 2
        finally:
            os._exit(status)

    async def main() -> list[str]:
        async with (
            tabbyapi.AsyncClient(server.url) as client,
            client.chat.create_stream([user("Hello")]) as stream,
        ):
            first = await anext(stream)
            in_child(lambda: stream.__anext__().send(None), stream)
            return [first.text, (await anext(stream)).text, (await anext(stream)).text]

    with ReplayServer(TOGETHER) as server:
        if how == "async":
            assert asyncio.run(main()) == ["a", "b", "c"]
            return
        with (
            tabbyapi.Client(server.url) as client,
            client.chat.create_stream([user("Hello")]) as stream,
        ):
            chunks = iter(stream) if how == "loop" else stream
            texts = [next(chunks).text]
            in_child(lambda: next(chunks), stream)
            texts += [next(chunks).text, next(chunks).text]
    assert texts == ["a", "b", "c"]
