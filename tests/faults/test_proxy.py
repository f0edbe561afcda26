"""A proxy between client and server that delays, splits, cuts, stalls, doubles and corrupts."""

from __future__ import annotations

import json

import pytest
from tests.support.replay import ReplayServer, json_reply

import tabbyapi

from .conftest import Twin
from .replies import ANSWER, DONE, GOOD, STREAM_HEAD, framed, quick, streamed, text_event
from .scripted import FaultProxy

TEXTS = ["Once ", "upon ", "a time", "."]
TALE = streamed(*(text_event(text) for text in TEXTS), DONE)
WIRE = b"".join(TALE.pieces)
BRISK = tabbyapi.Timeout(idle=5)


def texts_within(count: int) -> list[str]:
    """The texts whose events are complete in so many bytes of the answer."""
    arrived, end = [], len(STREAM_HEAD)
    for text in TEXTS:
        event = text_event(text)
        end += len(framed(event)[0])
        if count >= end - 2:  # the chunk's own CRLF says nothing more
            arrived.append(text)
    return arrived


@pytest.mark.parametrize("fault", [{"delay": 0.1}, {"split": 1}, {"split": 7}], ids=str)
def test_slow_and_chopped_is_the_same_as_fast_and_whole(
    twin: Twin, fault: dict[str, float]
) -> None:
    with ReplayServer(TALE) as server, FaultProxy(server.url, **fault) as proxy:  # type: ignore[arg-type]
        outcome = twin.stream(proxy.url)
    assert outcome.error is None
    assert outcome.texts == TEXTS
    with ReplayServer(GOOD) as server, FaultProxy(server.url, **fault) as proxy:  # type: ignore[arg-type]
        assert twin.create(proxy.url).text == "fine"


@pytest.mark.parametrize("how", ["cut_after", "reset_after"])
def test_a_stream_broken_at_any_byte_gives_back_every_event_before(twin: Twin, how: str) -> None:
    with ReplayServer(TALE) as server:
        fault = FaultProxy(server.url)
        with fault as proxy:
            for count in range(1, len(WIRE) - 7, 29):
                setattr(fault, how, count)
                outcome = twin.stream(proxy.url, retry=0, timeout=BRISK)
                if count < len(STREAM_HEAD):
                    assert type(outcome.error) is tabbyapi.RequestError, count
                    continue
                # With the head alone, or a reset, aiohttp may see the break before the head.
                if not isinstance(outcome.error, tabbyapi.StreamInterruptedError):
                    assert type(outcome.error) is tabbyapi.RequestError, count
                    assert how == "reset_after", count
                    continue
                assert outcome.texts == texts_within(count), count
                partial = outcome.error.partial
                assert (partial.text if partial else "") == "".join(outcome.texts)


@pytest.mark.parametrize("count", [10, len(STREAM_HEAD), len(WIRE) // 2, len(WIRE) - 40])
def test_a_stream_that_stalls_at_any_byte_times_out_with_every_event_before(
    twin: Twin, count: int
) -> None:
    with ReplayServer(TALE) as server, FaultProxy(server.url, stall_after=count) as proxy:
        outcome = twin.stream(proxy.url, retry=0, timeout=tabbyapi.Timeout(idle=0.3))
    assert isinstance(outcome.error, tabbyapi.RequestTimeout)
    assert outcome.texts == texts_within(count)
    if count >= len(STREAM_HEAD):
        assert isinstance(outcome.error, tabbyapi.StreamTimeout)


def test_a_byte_turned_over_anywhere_never_makes_a_wrong_text(twin: Twin) -> None:
    with ReplayServer(TALE) as server:
        fault = FaultProxy(server.url)
        with fault as proxy:
            for place in range(0, len(WIRE), 31):
                fault.corrupt_at = place
                outcome = twin.stream(proxy.url, retry=0, timeout=tabbyapi.Timeout(idle=0.5))
                # In the name of a line or a member, it makes something unknown, which is skipped
                # as the standards say. Nothing is made up, or told in another order.
                rest = iter(TEXTS)
                assert all(said in rest for said in outcome.texts if said), place


def test_everything_twice_is_an_error_with_nothing_made_up(twin: Twin) -> None:
    with ReplayServer(TALE) as server, FaultProxy(server.url, duplicate=True, split=50) as proxy:
        outcome = twin.stream(proxy.url, retry=0, timeout=BRISK)
    assert isinstance(outcome.error, tabbyapi.RequestError | tabbyapi.StreamInterruptedError)
    assert outcome.texts == []


def test_an_answer_cut_at_any_byte_is_an_error_and_not_half_an_answer(twin: Twin) -> None:
    whole = b"".join(GOOD.pieces)
    with ReplayServer(GOOD) as server:
        fault = FaultProxy(server.url)
        with fault as proxy:
            for count in range(0, len(whole) - 1, 17):
                fault.cut_after = count
                (reply,) = twin.create_all(proxy.url, ["Hello"], retry=0, timeout=5)
                assert type(reply) is tabbyapi.RequestError, count
                assert reply.answered == (count > 0), count


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("verb", ["create", "stream"])
def test_no_redirect_is_followed_so_the_key_stays_here(twin: Twin, status: int, verb: str) -> None:
    with ReplayServer(GOOD) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        for place in (f"{elsewhere}/v1/chat/completions", "/elsewhere", "https://example.invalid/"):
            with ReplayServer(json_reply(status, b"", f"location: {place}")) as server:
                if verb == "create":
                    (error,) = twin.create_all(server.url, ["Hello"])
                else:
                    error = twin.stream(server.url).error
            assert type(error) is tabbyapi.APIError
            assert error.status_code == status
            assert place in str(error)
            assert len(server.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504])
def test_an_error_status_with_a_page_of_html_keeps_its_class(twin: Twin, status: int) -> None:
    page = b"<!doctype html><html><body><h1>Something</h1>" + b"<p>x</p>" * 5000
    with ReplayServer(json_reply(status, page, "content-type: text/html")) as server:
        (plain,) = twin.create_all(server.url, ["Hello"], retry=quick(0))
        streamed_error = twin.stream(server.url, retry=quick(0)).error
    for error in (plain, streamed_error):
        assert isinstance(error, tabbyapi.APIError)
        assert error.status_code == status
        assert "<p>" not in str(error).partition("starting")[0]
        assert len(str(error)) < 500


def test_the_answer_is_as_sent() -> None:
    """What the tests above compare with is what the server really says."""
    assert json.loads(b"".join(GOOD.pieces).partition(b"\r\n\r\n")[2]) == ANSWER
