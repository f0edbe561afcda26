"""What a caller gets of a stream that breaks, or falls silent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi
from tabbyapi import user

from .conftest import Twin
from .replies import DONE, GOOD, quick, streamed, text_event

# --------------------------------------------------------------------------- streams


def test_a_stream_leaves_its_connection_for_the_next_request(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), text_event("b"), DONE)) as server:
        outcome = twin.stream(server.url, times=3)
    assert outcome.error is None
    assert outcome.texts == ["a", "b"]
    assert {request.connection for request in server.requests} == {0}


def test_chunks_arrive_although_others_share_their_http_chunk(twin: Twin) -> None:
    both = text_event("a") + text_event("b") + b": ping - 1\r\n\r\n" + text_event("c") + DONE
    with ReplayServer(streamed(both)) as server:
        assert twin.stream(server.url).texts == ["a", "b", "c"]


@pytest.mark.parametrize("together", [1, 7, 1000], ids=lambda n: f"{n} in a read")
def test_what_has_arrived_may_be_asked_for_at_every_chunk(together: int) -> None:
    words = [f"word{n} " for n in range(1000)]
    events = [text_event(word) for word in words]
    reads = [b"".join(events[i : i + together]) for i in range(0, len(events), together)]
    seen: list[str] = []

    def follow(chunk: Any, response: Any) -> None:
        seen.append(chunk.text)
        if len(seen) % 13 == 1:
            assert response().text == "".join(seen)

    async def main() -> None:
        async with (
            tabbyapi.AsyncClient(server.url) as client,
            client.chat.create_stream([user("Hello")]) as stream,
        ):
            async for chunk in stream:
                follow(chunk, lambda: stream.response)
            assert stream.response.text == "".join(words)

    with ReplayServer(streamed(*reads, DONE)) as server:
        with (
            tabbyapi.Client(server.url) as client,
            client.chat.create_stream([user("Hello")]) as stream,
        ):
            for chunk in stream:
                follow(chunk, lambda: stream.response)
            assert stream.response.text == "".join(words)
        assert seen == words
        seen.clear()
        asyncio.run(main())
        assert seen == words


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_cut_stream_gives_back_what_had_arrived(twin: Twin, then: Any) -> None:
    reply = streamed(text_event("half an "), text_event("answer"), end=False, then=then, pause=0.01)
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.texts == ["half an ", "answer"]
    assert outcome.error.partial.text == "half an answer"
    assert len(server.requests) == 1


def test_a_stream_that_ends_without_done_is_not_complete(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("almost"))) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert "[DONE]" in str(outcome.error)
    assert outcome.error.partial.text == "almost"


@pytest.mark.parametrize(
    "event",
    [b"data: {not json}\r\n\r\n", b'data: {"choices": 7}\r\n\r\n', b'data: "\xff"\r\n\r\n'],
    ids=["no JSON", "another shape", "bad UTF-8"],
)
def test_an_event_that_is_no_chunk_ends_the_stream_with_what_came_before(
    twin: Twin, event: bytes
) -> None:
    with ReplayServer(streamed(text_event("good"), event, text_event("bad"), DONE)) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamError)
    assert outcome.texts == ["good"]
    assert outcome.error.partial.text == "good"


def test_what_follows_done_is_ignored(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), DONE, text_event("b"))) as server:
        outcome = twin.stream(server.url, times=2)
    assert outcome.error is None
    assert outcome.texts == ["a"]


def test_a_stream_that_stays_open_after_done_is_complete_all_the_same(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), DONE, end=False, then="hang")) as server:
        outcome = twin.stream(server.url)
    assert outcome.error is None
    assert outcome.response.text == "a"


def test_a_stream_without_framing_is_read_as_it_arrives(twin: Twin) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    reply = Reply([head, text_event("a"), text_event("b"), DONE], "close", pause=0.01)
    with ReplayServer(reply) as server:
        assert twin.stream(server.url).texts == ["a", "b"]


# ---------------------------------------------------------------------------- silence


def test_no_answer_within_the_total_is_a_timeout(twin: Twin) -> None:
    with (
        ReplayServer(Reply([], "hang")) as server,
        pytest.raises(tabbyapi.RequestTimeout, match=r"0\.2 s") as caught,
    ):
        twin.create(server.url, timeout=0.2, retry=quick())
    assert isinstance(caught.value, TimeoutError)
    assert len(server.requests) == 1


def test_a_hung_server_ends_a_plain_call_too(twin: Twin) -> None:
    assert tabbyapi.Timeout().idle == 600
    with (
        ReplayServer(Reply([], "hang")) as server,
        pytest.raises(tabbyapi.RequestTimeout, match=r"0\.2 s \(timeout\.idle\).*create_stream"),
    ):
        twin.create(server.url, timeout=tabbyapi.Timeout(idle=0.2), retry=quick())
    assert len(server.requests) == 1


def test_a_download_may_take_longer_than_idle() -> None:
    slow = Reply(json_reply(200, {"download_path": "models/m"}).pieces, delay=0.4)
    with (
        ReplayServer(slow) as server,
        tabbyapi.Client(server.url, timeout=tabbyapi.Timeout(idle=0.1)) as client,
    ):
        assert client.models.download("a/b") == "models/m"


def test_a_dripping_answer_does_not_outlive_the_total(twin: Twin) -> None:
    whole = b"".join(GOOD.pieces)
    drops = Reply([whole[i : i + 1] for i in range(len(whole))], pause=0.02)
    with ReplayServer(drops) as server, pytest.raises(tabbyapi.RequestTimeout):
        twin.create(server.url, timeout=0.3)


def test_silence_in_a_stream_is_a_timeout_with_what_had_arrived(twin: Twin) -> None:
    reply = streamed(text_event("so far"), end=False, then="hang")
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.2))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.error.partial.text == "so far"
    assert "no pings" in str(outcome.error)


def test_pings_do_not_count_as_data(twin: Twin) -> None:
    pings = [b": ping - now\r\n\r\n"] * 100
    reply = streamed(text_event("so far"), *pings, end=False, then="hang", pause=0.02)
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.2))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert "still sends pings" in str(outcome.error)
    assert outcome.error.partial.text == "so far"


def test_a_stream_does_not_outlive_the_total(twin: Twin) -> None:
    events = [text_event("x")] * 200
    with ReplayServer(streamed(*events, pause=0.01)) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(total=0.3))
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert "timeout.total" in str(outcome.error)
    assert 0 < len(outcome.texts) < 200
    assert outcome.error.partial.text == "x" * len(outcome.texts)


@pytest.mark.parametrize("idle", [600.0, None])
def test_a_server_that_stops_pinging_is_noticed(
    twin: Twin, idle: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabbyapi._streaming.base._NO_PING", 0.4)
    ping = b": ping\r\n\r\n"
    sse = streamed(text_event("first"), ping, ping, end=False, then="hang")
    with ReplayServer(sse) as server:
        started = time.monotonic()
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=idle))
    assert 0.4 <= time.monotonic() - started < 5
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert "not even a ping" in str(outcome.error)
    assert outcome.error.partial.text == "first"


def test_pings_at_a_slow_rhythm_are_not_taken_for_silence(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabbyapi._streaming.base._NO_PING", 0.3)
    ping = b": ping\r\n\r\n"
    pieces = streamed(text_event("a"), ping, ping, text_event("b"), DONE).pieces
    with ReplayServer(Reply(pieces, pause=0.5)) as server:
        outcome = twin.stream(server.url)
    assert outcome.error is None
    assert outcome.texts == ["a", "b"]


def test_a_slow_reader_is_not_the_servers_silence() -> None:
    async def main() -> list[str]:
        texts = []
        async with tabbyapi.AsyncClient(server.url, timeout=tabbyapi.Timeout(idle=0.3)) as client:
            async for text in client.chat.create_stream([user("Hello")]).text_deltas():
                await asyncio.sleep(0.5)
                texts.append(text)
        return texts

    with ReplayServer(streamed(text_event("a"), text_event("b"), DONE)) as server:
        assert asyncio.run(main()) == ["a", "b"]
        with tabbyapi.Client(server.url, timeout=tabbyapi.Timeout(idle=0.3, total=60)) as client:
            texts = []
            for text in client.chat.create_stream([user("Hello")]).text_deltas():
                time.sleep(0.5)
                texts.append(text)
        assert texts == ["a", "b"]
