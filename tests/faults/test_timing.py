"""How long a call may take, and when a server may be asked again."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi

from .conftest import Twin
from .replies import GOOD, quick


def busy(status: int, wait: str) -> Reply:
    head = ("content-type: application/json", f"retry-after: {wait}")
    return json_reply(status, {"detail": "busy"}, *head)


@pytest.mark.parametrize("verb", ["create", "stream"])
def test_the_total_bounds_the_tries_and_the_waits_together(twin: Twin, verb: str) -> None:
    slow = Reply(busy(429, "0.3").pieces, delay=0.3)
    policy = tabbyapi.RetryPolicy(max_retries=50)
    started = time.monotonic()
    with ReplayServer(slow) as server:
        if verb == "create":
            (error,) = twin.create_all(server.url, ["x"], retry=policy, timeout=1.0)
        else:
            error = twin.stream(server.url, retry=policy, timeout=1.0).error
    assert time.monotonic() - started < 1.6
    assert isinstance(error, tabbyapi.RateLimitError | tabbyapi.RequestTimeout)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_wait_longer_than_the_time_left_raises_at_once(twin: Twin, status: int) -> None:
    started = time.monotonic()
    with ReplayServer([busy(status, "30"), GOOD]) as server:
        (error,) = twin.create_all(server.url, ["x"], timeout=2.0)
    assert time.monotonic() - started < 1.5
    assert error.status_code == status
    assert error.retry_after == 30
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_decides_the_wait(twin: Twin, status: int) -> None:
    # With a base delay of a minute, only Retry-After explains that this ends.
    policy = tabbyapi.RetryPolicy(base_delay=60)
    with ReplayServer(
        [busy(status, "0.01"), busy(status, formatdate(0, usegmt=True)), GOOD]
    ) as server:
        assert twin.create(server.url, retry=policy).text == "fine"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("7", 7.0),
        ("99999999999999999999999", 1e23),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", None),
        ("+99999999999999999999", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        ("soon", None),
        ("1e400", float("inf")),
    ],
)
def test_an_odd_retry_after_never_hurts(twin: Twin, said: str, expected: Any) -> None:
    policy = tabbyapi.RetryPolicy(max_retries=1, base_delay=0.001, max_delay=1)
    with ReplayServer(busy(429, said)) as server:
        (error,) = twin.create_all(server.url, ["x"], retry=policy)
    assert isinstance(error, tabbyapi.RateLimitError)
    assert error.retry_after == expected
    assert len(server.requests) == (2 if expected is None else 1)


def test_a_wait_longer_than_the_policys_longest_raises_at_once(twin: Twin) -> None:
    with ReplayServer(busy(503, "5")) as server:
        policy = tabbyapi.RetryPolicy(max_delay=4)
        (error,) = twin.create_all(server.url, ["x"], retry=policy)
    assert error.retry_after == 5
    assert len(server.requests) == 1


def test_a_bare_503_is_a_lasting_fault(twin: Twin) -> None:
    with ReplayServer(json_reply(503, {"detail": "no model"})) as server:
        (error,) = twin.create_all(server.url, ["x"], retry=quick())
    assert error.retry_after is None
    assert len(server.requests) == 1


def test_a_huge_error_is_not_quoted_whole(twin: Twin) -> None:
    for body in ({"detail": "x" * 5_000_000}, {"detail": [{"msg": "y" * 50_000}] * 1000}):
        with ReplayServer(json_reply(422, body)) as server:
            (error,) = twin.create_all(server.url, ["x"])
        assert isinstance(error, tabbyapi.InvalidRequestError)
        assert len(str(error)) < 60_000
        assert len(error.message) < 2100
