"""How streams end badly, and what the caller still has: told from the wire up."""

from __future__ import annotations

import pytest

import tabbyapi
from support.captures import load
from support.replay import ReplayServer, Reply, replay
from support.talk import HELLO, Ask, Outcome, Talk
from support.wire import assembled, wire

STREAM = Ask(HELLO.messages, stream=True)
CAPTURE = load()["chat_stream_usage"]
HEAD, *CHUNKS = CAPTURE.framed
PING = b": ping - 2026-01-01 00:00:00+00:00\r\n\r\n"
PING_CHUNK = b"%x\r\n%b\r\n" % (len(PING), PING)
QUICK = tabbyapi.Timeout(idle=0.3)


def ask(talk: Talk, reply: Reply, **settings: object) -> Outcome:
    with ReplayServer(reply) as server:
        [result] = talk(server.url, [STREAM], **settings)
        if result.error is not None and reply.then == "hang":
            assert server.left.wait(10), "a stream given up closes its connection"
    assert len(server.requests) == 1, "a stream that has begun is not tried again"
    return result


def test_pings_without_data_run_into_the_idle_limit_and_are_told(talk: Talk) -> None:
    pings = Reply([HEAD, *CHUNKS[:2], *[PING_CHUNK] * 100], "hang", pause=0.02)
    result = ask(talk, pings, timeout=QUICK)
    assert type(result.error) is tabbyapi.StreamTimeout
    assert isinstance(result.error, TimeoutError)
    assert "pings" in str(result.error)
    assert "no pings" not in str(result.error)
    assert wire(result.response) == wire(result.error.partial) == assembled(CAPTURE.events[:2])


def test_silence_before_the_first_event_runs_into_the_idle_limit(talk: Talk) -> None:
    result = ask(talk, Reply([HEAD], "hang"), timeout=QUICK)
    assert type(result.error) is tabbyapi.StreamTimeout
    assert result.error.partial is None


def test_a_steady_stream_longer_than_the_idle_limit_is_fine(talk: Talk) -> None:
    result = ask(talk, Reply([HEAD, *CHUNKS], pause=0.1), timeout=QUICK)
    assert result.error is None
    assert wire(result.response) == assembled(CAPTURE.events)


@pytest.mark.parametrize("kept", [1, 5, 60, -3])
def test_a_connection_lost_inside_an_event_interrupts(talk: Talk, kept: int) -> None:
    result = ask(talk, Reply([HEAD, *CHUNKS[:3], CHUNKS[3][:kept]], "close"))
    assert type(result.error) is tabbyapi.StreamInterruptedError
    assert len(result.chunks) == 3 or kept == -3
    assert wire(result.response) == wire(result.error.partial)


def test_a_connection_that_closes_right_after_done_is_a_good_end(talk: Talk) -> None:
    result = ask(talk, Reply([HEAD, *CHUNKS[:-1]], "close"))
    assert result.error is None
    assert wire(result.response) == assembled(CAPTURE.events)


def test_the_connection_is_used_again_after_a_whole_stream_and_not_after_half(talk: Talk) -> None:
    half = Reply([HEAD, *CHUNKS[:3], b"0\r\n\r\n"])
    with ReplayServer([replay(CAPTURE), replay(CAPTURE), half, replay(CAPTURE)]) as server:
        results = talk(server.url, [STREAM] * 4)
    assert [result.error is None for result in results] == [True, True, False, True]
    assert [request.connection for request in server.requests[:3]] == [0, 0, 0]
