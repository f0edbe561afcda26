"""How large an answer may be, and how the limits are set."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi
from tabbyapi import Limits

from .conftest import Twin
from .replies import ANSWER, DONE, GOOD, STREAM_HEAD, framed, streamed, text_event
from .scripted import Peer, ScriptedServer


def test_a_body_beyond_the_limit_is_given_up(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        peer.flood(b"x" * 4096)

    with ScriptedServer(script) as server:
        with pytest.raises(tabbyapi.RequestError, match=r"100,000 bytes \(limits.body\)") as caught:
            twin.create(server.url, limits=Limits(body=100_000))
        assert server.left.wait(5)
    assert caught.value.answered


def test_the_body_of_an_error_counts_too(twin: Twin) -> None:
    with (
        ReplayServer(json_reply(500, b"x" * 5000)) as server,
        pytest.raises(tabbyapi.RequestError, match=r"limits\.body"),
    ):
        twin.create(server.url, limits=Limits(body=1000))


@pytest.mark.parametrize("line", [b"data: ", b"data: x\n", b"event: ", b": "])
def test_an_event_beyond_the_limit_ends_the_stream_with_what_came_before(
    twin: Twin, line: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM_HEAD + framed(text_event("so far"))[0])
        endless = line if line.endswith(b"\n") else b"x"
        peer.send(framed(line)[0])
        peer.flood(framed(endless * 1000)[0])

    with ScriptedServer(script) as server:
        outcome = twin.stream(server.url, limits=Limits(event=50_000))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert "50,000 bytes (limits.event)" in str(outcome.error)
    assert outcome.error.partial.text == "so far"


def test_an_event_within_a_raised_limit_is_read(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("x" * 60_000), DONE)) as server:
        assert twin.stream(server.url, limits=Limits(event=70_000)).error is None
        assert twin.stream(server.url, limits=Limits(event=50_000)).error is not None


@pytest.mark.parametrize("size", [500, 5000])
def test_a_header_beyond_the_limit_is_an_error(twin: Twin, size: int) -> None:
    head, body = b"".join(GOOD.pieces).split(b"\r\n\r\n")
    reply = Reply([head + b"\r\nx-long: " + b"y" * size + b"\r\n\r\n" + body])
    with ReplayServer(reply) as server:
        (answer,) = twin.create_all(server.url, ["one"], retry=0, limits=Limits(header=1000))
    if size < 1000:
        assert answer.text == ANSWER["choices"][0]["message"]["content"]  # type: ignore[index]
    else:
        assert isinstance(answer, tabbyapi.RequestError)
        assert answer.answered


def test_endless_headers_are_an_error(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        peer.flood(b"x-more: 1\r\n" * 50)

    with ScriptedServer(script) as server:
        with pytest.raises(tabbyapi.RequestError) as caught:
            twin.create(server.url, retry=0, timeout=20)
        assert server.left.wait(5)
    assert not isinstance(caught.value, tabbyapi.RequestTimeout)


@pytest.mark.parametrize(
    "limits",
    [{"event": 0}, {"body": -1}, {"header": 100_000}, {"event": 1.5}, {"body": True}],
    ids=str,
)
def test_limits_that_cannot_be_are_refused_by_name(limits: dict[str, Any]) -> None:
    with pytest.raises(tabbyapi.ValidationError, match=f"limits.{next(iter(limits))}") as caught:
        Limits(**limits)
    assert caught.value.field == "limits"


def test_what_is_no_limits_is_refused_by_both_clients() -> None:
    for kind in (tabbyapi.Client, tabbyapi.AsyncClient):
        with pytest.raises(tabbyapi.ValidationError, match="limits") as caught:
            kind(limits={"event": 5})  # type: ignore[arg-type]
        assert caught.value.field == "limits"
