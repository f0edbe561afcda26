"""The recorded exchanges that the client left early: the connection closes at once."""

from __future__ import annotations

import asyncio

import pytest

import tabbyapi
from support.captures import Capture, load
from support.replay import ReplayServer, Reply, replay
from support.talk import HELLO
from support.wire import wire, without_nulls

MESSAGES = HELLO.messages
LEFT = load()["chat_disconnect_stream"]
PREFILL = load()["chat_disconnect_prefill"]
UNANSWERED = load()["chat_disconnect_prefill_nonstream"]
# How long the server may take to notice; reached only if something is wrong.
PATIENCE = 10


@pytest.mark.parametrize("capture", [LEFT, PREFILL], ids=repr)
def test_leaving_the_block_closes_the_connection(capture: Capture) -> None:
    with ReplayServer(replay(capture)) as server, tabbyapi.Client(server.url) as client:
        with client.chat.create_stream(MESSAGES) as stream:
            chunks = [next(stream) for _ in capture.events]
        assert server.left.wait(PATIENCE)
        assert stream.closed
    assert [wire(chunk) for chunk in chunks] == without_nulls(capture.events)


@pytest.mark.parametrize("capture", [LEFT, PREFILL], ids=repr)
def test_leaving_the_async_block_closes_the_connection(capture: Capture) -> None:
    async def leave(server: ReplayServer) -> list[object]:
        async with tabbyapi.AsyncClient(server.url) as client:
            async with client.chat.create_stream(MESSAGES) as stream:
                chunks = [await anext(stream) for _ in capture.events]
            assert await asyncio.to_thread(server.left.wait, PATIENCE)
            assert stream.closed
            return chunks

    with ReplayServer(replay(capture)) as server:
        chunks = asyncio.run(leave(server))
    assert [wire(chunk) for chunk in chunks] == without_nulls(capture.events)


def test_an_exception_in_the_block_closes_the_connection_and_passes_through() -> None:
    with ReplayServer(replay(LEFT)) as server, tabbyapi.Client(server.url) as client:
        with (
            pytest.raises(KeyError, match="mine"),
            client.chat.create_stream(MESSAGES) as stream,
        ):
            next(stream)
            raise KeyError("mine")
        assert server.left.wait(PATIENCE)


def test_a_closed_stream_says_so_and_keeps_what_it_had() -> None:
    with ReplayServer(replay(LEFT)) as server, tabbyapi.Client(server.url) as client:
        stream = client.chat.create_stream(MESSAGES)
        first = next(stream)
        stream.close()
        stream.close()
        with pytest.raises(tabbyapi.StreamClosedError) as caught:
            for _ in stream:
                pass
        assert caught.value.code == "stream_error"
        assert caught.value.partial.text.startswith(first.text)
        assert stream.response.text.startswith(first.text)


def test_an_async_stream_that_is_closed_says_so_and_keeps_what_it_had() -> None:
    async def use(url: str) -> None:
        async with tabbyapi.AsyncClient(url) as client:
            stream = await client.chat.create_stream(MESSAGES)
            first = await anext(stream)
            await stream.close()
            await stream.close()
            with pytest.raises(tabbyapi.StreamClosedError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.partial.text.startswith(first.text)

    with ReplayServer(replay(LEFT)) as server:
        asyncio.run(use(server.url))


def test_cancelling_the_task_that_waits_for_an_answer_closes_the_connection() -> None:
    async def cancel(server: ReplayServer) -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.chat.create(MESSAGES)
            assert await asyncio.to_thread(server.left.wait, PATIENCE)

    with ReplayServer(replay(UNANSWERED)) as server:
        asyncio.run(cancel(server))


def test_a_call_that_takes_too_long_in_all_closes_the_connection() -> None:
    with ReplayServer(replay(UNANSWERED)) as server, tabbyapi.Client(server.url) as client:
        with pytest.raises(tabbyapi.RequestTimeout) as caught:
            client.chat.create(MESSAGES, timeout=0.3)
        assert "0.3 s" in str(caught.value)
        assert server.left.wait(PATIENCE)
        assert len(server.requests) == 1, "a timeout is not tried again"


def test_an_async_call_that_takes_too_long_in_all_closes_the_connection() -> None:
    async def call(server: ReplayServer) -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            with pytest.raises(tabbyapi.RequestTimeout) as caught:
                await client.chat.create(MESSAGES, timeout=0.3)
            assert "0.3 s" in str(caught.value)
            assert await asyncio.to_thread(server.left.wait, PATIENCE)

    with ReplayServer(replay(UNANSWERED)) as server:
        asyncio.run(call(server))
    assert len(server.requests) == 1


def test_a_call_without_limits_waits_for_a_slow_answer() -> None:
    slow = replay(load()["chat_nonstream_slow"])
    reply = Reply(slow.pieces, delay=0.5)
    limits = tabbyapi.Timeout(idle=None)
    with ReplayServer(reply) as server, tabbyapi.Client(server.url, timeout=limits) as client:
        assert client.chat.create(MESSAGES).text != ""
