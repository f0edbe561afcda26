"""Broken HTTP: what arrived before the break is given back, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

import tabbyapi

from .conftest import Twin
from .replies import ANSWER, DONE, GOOD, STREAM_HEAD, framed, quick, text_event
from .scripted import Peer, ScriptedServer

# No test waits for this: it is what a fault that goes unnoticed would take.
LONG = tabbyapi.Timeout(idle=20)
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
PAUSE = 0.05


def after_two_events(spoiled: bytes) -> Callable[[Peer], None]:
    """A stream of two events, and then these bytes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM_HEAD)
        for piece in framed(text_event("half an "), text_event("answer")):
            peer.send(piece)
        time.sleep(PAUSE)
        peer.send(spoiled)
        peer.hang()

    return script


@pytest.mark.parametrize(
    "spoiled",
    [
        b"zz\r\n",
        b"-5\r\nhello\r\n",
        b"\r\n",
        b"ffffffffffffffffffffff\r\n",
        b"5\r\nhello, and too much\r\n",
        b"5 5\r\nhello\r\n",
    ],
    ids=["no number", "negative", "empty", "enormous", "too short", "two numbers"],
)
def test_broken_framing_in_a_stream_is_reported_at_once(twin: Twin, spoiled: bytes) -> None:
    with ScriptedServer(after_two_events(spoiled)) as server:
        outcome = twin.stream(server.url, timeout=LONG)
    assert type(outcome.error) is tabbyapi.StreamInterruptedError
    assert "not valid HTTP" in str(outcome.error)
    assert "connection was lost" not in str(outcome.error)
    assert outcome.texts == ["half an ", "answer"]
    assert outcome.error.partial.text == "half an answer"
    assert outcome.error.code == "stream_error"


@pytest.mark.parametrize("then", ["close", "reset", "hang"])
def test_events_in_a_chunk_that_never_ends_are_given_back(twin: Twin, then: str) -> None:
    events = text_event("half an ") + text_event("answer") + text_event("lost")[:20]

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM_HEAD + b"fff\r\n" + events)
        time.sleep(PAUSE)
        if then == "hang":
            peer.hang()
        elif then == "reset":
            peer.reset()

    with ScriptedServer(script) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.5))
    kind = tabbyapi.StreamTimeout if then == "hang" else tabbyapi.StreamInterruptedError
    assert type(outcome.error) is kind
    assert "".join(outcome.texts) == "half an answer"
    assert outcome.error.partial.text == "half an answer"


def test_what_waited_to_be_read_survives_the_break() -> None:
    """A slow reader gets all that had arrived, although the connection broke long before."""

    async def read() -> tuple[list[str], tabbyapi.TabbyError]:
        texts: list[str] = []
        async with tabbyapi.AsyncClient(server.url, timeout=LONG) as client:
            with pytest.raises(tabbyapi.StreamInterruptedError) as caught:
                async with client.chat.create_stream([tabbyapi.user("Hello")]) as stream:
                    await asyncio.sleep(0.3)
                    async for chunk in stream:
                        texts.append(chunk.text)  # noqa: PERF401  (the list outlives the error)
            return texts, caught.value

    with ScriptedServer(after_two_events(b"zz\r\n")) as server:
        texts, error = asyncio.run(read())
    assert texts == ["half an ", "answer"]
    assert error.partial.text == "half an answer"  # type: ignore[attr-defined]


def test_a_chunk_size_that_never_ends_does_not_outlive_the_idle_limit(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM_HEAD + framed(text_event("so far"))[0] + b"5;")
        peer.drip(b"x")

    with ScriptedServer(script) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.4))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert outcome.error.partial.text == "so far"


@pytest.mark.parametrize("line", [b"5;" + b"x" * 60_000, b"0\r\nx-a: b\r\nx-c: " + b"y" * 60_000])
def test_a_frame_without_end_is_given_up_before_it_fills_the_memory(
    twin: Twin, line: bytes
) -> None:
    resource = pytest.importorskip("resource")

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM_HEAD)
        time.sleep(PAUSE)
        peer.send(framed(text_event("so far"))[0])
        time.sleep(PAUSE)
        peer.send(line)
        peer.flood(b"x" * 65536)

    with ScriptedServer(script) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = twin.stream(server.url, timeout=LONG)
        assert server.left.wait(5)
    assert type(outcome.error) is tabbyapi.StreamInterruptedError
    assert outcome.error.partial.text == "so far"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_dripping_headers_do_not_outlive_the_total(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        peer.drip(b"x-drop: 1\r\n")

    with ScriptedServer(script) as server:
        with pytest.raises(tabbyapi.RequestTimeout, match=r"0\.4 s"):
            twin.create(server.url, timeout=0.4)
        assert server.left.wait(5)


def test_dripping_headers_of_a_stream_do_not_outlive_the_idle_limit(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.drip(b"HTTP/1.1 200 OK\r\nx-drop: 1")

    with ScriptedServer(script) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.4))
    assert isinstance(outcome.error, tabbyapi.RequestTimeout)


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ],
    ids=["100", "103", "102 twice"],
)
@pytest.mark.parametrize("size", [10, 4_000_000])
def test_interim_answers_are_not_the_answer(twin: Twin, interim: bytes, size: int) -> None:
    def script(peer: Peer) -> None:
        head = peer.head()
        peer.send(interim)
        time.sleep(PAUSE)
        assert len(peer.body(head)) > size
        peer.send(b"".join(GOOD.pieces))

    with ScriptedServer(script) as server:
        assert twin.create(server.url, text="x" * size, timeout=20).text == "fine"


def test_an_answer_before_the_request_is_sent_is_the_answer(twin: Twin) -> None:
    body = b'{"detail": "the body is too large"}'
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: %d\r\n" % len(body)

    def script(peer: Peer) -> None:
        if peer.number:
            peer.request()
            peer.send(b"".join(GOOD.pieces))
            return
        peer.head()
        peer.send(answer + b"content-type: application/json\r\n\r\n" + body)
        peer.stop.wait(1)  # open, and reading nothing

    with ScriptedServer(script) as server:
        with pytest.raises(tabbyapi.InvalidRequestError, match="too large") as caught:
            twin.create(server.url, text="x" * 30_000_000, timeout=20)
        assert caught.value.status_code == 413
        assert twin.create(server.url).text == "fine"


def test_a_connection_with_half_a_request_on_it_is_not_used_again(twin: Twin) -> None:
    body = b'{"detail": "the body is too large"}'
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: %d\r\n" % len(body)

    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.head()
            peer.send(answer + b"content-type: application/json\r\n\r\n" + body)
            peer.stop.wait(1)
        else:
            peer.request()
            peer.send(b"".join(GOOD.pieces))

    with ScriptedServer(script) as server:
        reply = twin.create_all(server.url, ["x" * 30_000_000, "short"], timeout=20)
    assert isinstance(reply[0], tabbyapi.InvalidRequestError)
    assert reply[1].text == "fine"
    assert server.connections == 2


def test_a_second_answer_that_nobody_asked_for_is_given_to_nobody(twin: Twin) -> None:
    other = json.dumps(ANSWER).replace("fine", "not yours").encode()
    good = b"".join(GOOD.pieces)
    stray = JSON_HEAD + b"content-length: %d\r\n\r\n" % len(other) + other

    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(good + stray)

    with ScriptedServer(script) as server:
        replies = twin.create_all(server.url, ["one", "two", "three"], timeout=20)
    assert [reply.text for reply in replies] == ["fine"] * 3
    assert server.connections == 3


@pytest.mark.parametrize("length", [b"5", b"100000"], ids=["too small", "too large"])
def test_a_wrong_content_length_is_an_error(twin: Twin, length: bytes) -> None:
    body = b"".join(GOOD.pieces).partition(b"\r\n\r\n")[2]

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(JSON_HEAD + b"content-length: " + length + b"\r\n\r\n" + body)

    with ScriptedServer(script) as server, pytest.raises(tabbyapi.RequestError) as caught:
        twin.create(server.url, retry=quick())
    assert caught.value.answered
    assert server.connections == 1


@pytest.mark.parametrize(
    "line",
    [
        b"content-length: five",
        b"content-length: -1",
        b"content-length: 5, 7",
        b"content-length: 5\r\ncontent-length: 7",
        b"transfer-encoding: xchunked",
        b"content-encoding: gzip\r\ncontent-length: 2",
    ],
)
@pytest.mark.parametrize("verb", ["create", "stream"])
def test_a_head_that_leaves_the_body_unclear_is_refused_as_broken_http(
    twin: Twin, line: bytes, verb: str
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(JSON_HEAD + line + b"\r\n\r\n{}")
        peer.hang()

    with ScriptedServer(script) as server:
        if verb == "create":
            (error,) = twin.create_all(server.url, ["one"], retry=quick(), timeout=20)
        else:
            error = twin.stream(server.url, retry=quick(), timeout=LONG).error
    assert type(error) is tabbyapi.RequestError
    assert error.answered
    assert "not valid HTTP" in str(error)
    name, _, value = line.decode().partition(": ")
    assert name in str(error).lower()
    if name.endswith("encoding"):
        assert value.split()[0] in str(error)
    assert server.connections == 1


@pytest.mark.parametrize("retry", [0, quick()], ids=["no retries", "retries"])
def test_an_idle_connection_closed_just_as_it_is_used_again_is_replaced(
    twin: Twin, retry: Any
) -> None:
    seen: list[int] = []

    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.request()
            peer.send(b"".join(GOOD.pieces))
            peer.head()  # the next request has come, and nobody answers it
            return
        while peer.request():
            seen.append(peer.number)
            peer.send(b"".join(GOOD.pieces))

    with ScriptedServer(script) as server:
        replies = twin.create_all(server.url, ["one", "two", "three"], retry=retry)
    assert [reply.text for reply in replies] == ["fine"] * 3
    assert seen == [1, 1]


def test_a_dead_connection_is_replaced_once_and_then_retries_decide(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.request()
            peer.send(b"".join(GOOD.pieces))
        peer.head()  # and no answer

    with ScriptedServer(script) as server:
        replies = twin.create_all(server.url, ["one", "two"], retry=0)
    assert replies[0].text == "fine"
    assert type(replies[1]) is tabbyapi.RequestError
    assert not replies[1].answered
    assert server.connections == 2


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_connection_is_not_kept_after_a_failure_of_the_server(twin: Twin, status: int) -> None:
    body = b'{"detail": "no"}'
    failed = b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\n" % status
    failed += b"content-length: %d\r\n\r\n" % len(body) + body

    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(b"".join(GOOD.pieces) if peer.number else failed)

    with ScriptedServer(script) as server:
        replies = twin.create_all(server.url, ["one", "two"], retry=0)
    assert isinstance(replies[0], tabbyapi.ServerError)
    assert replies[1].text == "fine"
    assert server.connections == 2


def test_a_stream_after_a_broken_one_has_a_connection_of_its_own(twin: Twin) -> None:
    good = STREAM_HEAD + b"".join(framed(text_event("whole"), DONE)) + b"0\r\n\r\n"

    def script(peer: Peer) -> None:
        if peer.number == 0:
            after_two_events(b"zz\r\n")(peer)
        else:
            peer.request()
            peer.send(good)

    with ScriptedServer(script) as server:
        outcome = twin.stream(server.url, times=2, timeout=LONG)
    assert outcome.error is None
    assert outcome.response.text == "whole"
    assert server.connections == 2


def test_leaving_while_a_long_request_is_being_sent_leaves_no_socket(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.stop.wait(2)  # open, and reading nothing

    with ScriptedServer(script) as server, pytest.raises(tabbyapi.RequestTimeout):
        twin.create(server.url, text="x" * 30_000_000, timeout=0.3)
