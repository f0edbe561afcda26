"""Recorded chats: what the caller sends and gets, however the answer is cut on the way."""

from __future__ import annotations

from typing import Any

import pytest

from support.captures import Capture
from support.replay import ReplayServer, Reply, Split, replay
from support.talk import HELLO, KEY, Ask, Outcome, Talk
from support.wire import assembled, wire, without_nulls
from tabbyapi import (
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    StreamContextLengthError,
    StreamError,
    StreamInterruptedError,
    ValidationError,
)

from .recorded import CHAT, REFUSED, ask_of, body_of, sendable

ANSWERED = [c for c in CHAT if c.status == 200 and not c.streamed]
STREAMED = [c for c in CHAT if c.streamed and not c.end.startswith("client_")]
DONE = [c for c in STREAMED if c.done]
BROKEN = [c for c in STREAMED if not c.done]
SENDABLE = [c for c in CHAT if c.name not in REFUSED and ask_of(c) is not None]


def replies(capture: Capture) -> list[Reply]:
    """The recorded answer in each way of cutting it."""
    ways = [(how, 0) for how in Split] + [(Split.RANDOM, seed) for seed in range(1, 4)]
    return [
        replay(capture, how, seed)
        for how, seed in ways
        # 90,000 writes of a byte each would show nothing new.
        if how is not Split.EVERY_BYTE or len(capture.response) < 20_000
    ]


def outcomes(talk: Talk, capture: Capture, ask: Ask) -> tuple[list[Outcome], ReplayServer]:
    answers = replies(capture)
    with ReplayServer(answers) as server:
        return talk(server.url, [ask] * len(answers)), server


@pytest.mark.parametrize("capture", ANSWERED, ids=repr)
def test_an_answer_arrives_with_every_field(talk: Talk, capture: Capture) -> None:
    results, server = outcomes(talk, capture, sendable(capture))
    for result in results:
        assert result.error is None
        assert type(result.response) is ChatCompletionResponse
        assert wire(result.response) == without_nulls(capture.json)
    assert server.connections == 1, "the connection is kept"


@pytest.mark.parametrize("capture", DONE, ids=repr)
def test_a_stream_arrives_chunk_by_chunk_and_whole(talk: Talk, capture: Capture) -> None:
    results, server = outcomes(talk, capture, sendable(capture))
    for result in results:
        assert result.error is None
        assert {type(chunk) for chunk in result.chunks} == {ChatCompletionStreamResponse}
        assert [wire(chunk) for chunk in result.chunks] == without_nulls(capture.events)
        assert wire(result.response) == assembled(capture.events)
    assert server.connections == 1, "the connection is kept"


@pytest.mark.parametrize("capture", BROKEN, ids=repr)
def test_a_broken_stream_raises_with_what_had_arrived(talk: Talk, capture: Capture) -> None:
    results, _ = outcomes(talk, capture, sendable(capture))
    chunks = [event for event in capture.events if "error" not in event]
    for result in results:
        _check_stream_error(capture, result.error)
        assert [wire(chunk) for chunk in result.chunks] == without_nulls(chunks)
        assert wire(result.error.partial) == wire(result.response) == assembled(chunks)


def _check_stream_error(capture: Capture, error: Any) -> None:
    if capture.end == "server_closed":
        assert type(error) is StreamInterruptedError
        assert error.code == "stream_error"
        return
    told = capture.events[-1]["error"]
    full = told.get("code") == "context_length_exceeded"
    assert type(error) is (StreamContextLengthError if full else StreamError)
    assert error.code == ("context_length_exceeded" if full else "stream_error")
    assert error.status_code is None
    assert told["message"] in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize("capture", ANSWERED, ids=repr)
def test_a_server_that_does_not_stream_gives_one_chunk(talk: Talk, capture: Capture) -> None:
    results, server = outcomes(talk, capture, Ask(HELLO.messages, stream=True))
    for result in results:
        assert result.error is None
        assert len(result.chunks) == 1
        assert wire(result.response) == without_nulls(capture.json)
        assert result.chunks[0].text == result.response.text
        assert result.chunks[0].choices[0].finish_reason == result.response.finish_reason
    assert server.connections == 1


@pytest.mark.parametrize("capture", SENDABLE, ids=repr)
def test_what_was_given_is_sent_and_nothing_else(talk: Talk, capture: Capture) -> None:
    ask = ask_of(capture)
    with ReplayServer(replay(DONE[0] if ask.stream else ANSWERED[0])) as server:
        [result] = talk(server.url, [ask])
    assert result.error is None
    [request] = (one for one in server.requests if one.method == "POST")
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json == body_of(capture)
    assert request.headers.items() >= {
        ("content-type", "application/json"),
        ("x-api-key", KEY),
        ("content-length", str(len(request.body))),
        ("accept-encoding", "identity"),
    }
    assert not request.headers.keys() & {"authorization", "x-admin-key", "cookie"}


@pytest.mark.parametrize("capture", [c for c in CHAT if c.name in REFUSED], ids=repr)
def test_a_request_that_cannot_succeed_is_refused_unsent(talk: Talk, capture: Capture) -> None:
    with ReplayServer(replay(ANSWERED[0])) as server:
        [result] = talk(server.url, [ask_of(capture)])
    assert type(result.error) is ValidationError
    assert result.error.code == "validation_error"
    assert result.error.status_code is None
    assert result.error.field == REFUSED[capture.name]
    assert server.requests == []
