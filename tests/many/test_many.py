"""Many prompts at once, with either client, against a server that answers by prompt."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

import tabbyapi
from support.replay import ReplayServer, Reply, Request, json_reply
from tabbyapi import MapResult, user

Run: TypeAlias = Callable[..., list[MapResult[Any]]]


@dataclass
class Number:
    value: int


def said(request: Request) -> str:
    content: str = request.json["messages"][-1]["content"]
    return content


def echo(request: Request) -> Reply:
    """Says what it was told; waits as many hundredths of a second as the prompt says."""
    text = said(request)
    message = {"role": "assistant", "content": text}
    body = {"id": "1", "choices": [{"message": message, "finish_reason": "stop"}]}
    reply = json_reply(200, body)
    return Reply(reply.pieces, delay=float(text) / 100 if text.isdigit() else 0.0)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """run(url, method, *args, **params): all results of `client.chat.map` or `parse_many`."""

    def sync(url: str, method: str, *args: Any, **params: Any) -> list[MapResult[Any]]:
        with tabbyapi.Client(url) as client:
            return list(getattr(client.chat, method)(*args, **params))

    async def collect(url: str, method: str, *args: Any, **params: Any) -> list[MapResult[Any]]:
        async with tabbyapi.AsyncClient(url) as client:
            return [result async for result in getattr(client.chat, method)(*args, **params)]

    if request.param == "sync":
        return sync
    return lambda *args, **params: asyncio.run(collect(*args, **params))


def test_results_come_in_the_order_of_the_prompts(run: Run) -> None:
    prompts = ["9", "0", "5", "1"]
    with ReplayServer([echo]) as server:
        results = run(server.url, "map", prompts, max_tokens=5)
    assert [each.text for each in results] == prompts
    assert [each.value for each in results] == prompts
    assert [each.index for each in results] == [0, 1, 2, 3]
    assert all(request.json["max_tokens"] == 5 for request in server.requests)


def test_results_come_as_they_complete_where_that_is_asked_for(run: Run) -> None:
    with ReplayServer([echo]) as server:
        results = run(server.url, "map", ["40", "0", "20"], ordered=False)
    assert [each.prompt for each in results] == ["0", "20", "40"]
    assert [each.index for each in results] == [1, 2, 0]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_under_way_than_asked_for(run: Run, concurrency: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counting(request: Request) -> Reply:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        threading.Timer(0.02, leave).start()
        return Reply(echo(request).pieces, delay=0.03)

    def leave() -> None:
        nonlocal now
        with lock:
            now -= 1

    with ReplayServer([counting]) as server:
        run(server.url, "map", ["a"] * 9, concurrency=concurrency)
    assert most == concurrency


def test_a_prompt_that_fails_has_its_error_in_its_place(run: Run) -> None:
    def picky(request: Request) -> Reply:
        if said(request) == "bad":
            return json_reply(400, {"detail": "no such thing"})
        return echo(request)

    with ReplayServer([picky]) as server:
        results = run(server.url, "map", ["a", "bad", [], "b", "c\udc80"])
    assert [each.text for each in results] == ["a", "", "", "b", ""]
    assert isinstance(results[1].error, tabbyapi.InvalidRequestError)
    assert isinstance(results[2].error, tabbyapi.ValidationError)
    assert isinstance(results[4].error, tabbyapi.ValidationError)
    with pytest.raises(tabbyapi.InvalidRequestError, match="no such thing"):
        results[1].unwrap()
    assert results[3].unwrap() == "b"


def test_a_passing_failure_is_tried_again(run: Run) -> None:
    failures = iter([json_reply(503, {"detail": "busy"}), json_reply(429, {"detail": "busy"})])

    def busy(request: Request) -> Reply:
        return next(failures, None) or echo(request)

    with ReplayServer([busy]) as server:
        (result,) = run(server.url, "map", ["a"], retries=2)
        assert result.text == "a"
    with ReplayServer([json_reply(503, {"detail": "busy"})]) as server:
        (result,) = run(server.url, "map", ["a"], retries=1)
    assert result.error is not None
    assert result.error.status_code == 503
    assert len(server.requests) == 2


def test_prompts_may_be_messages_conversations_and_requests(run: Run) -> None:
    prompts = [
        user("a"),
        {"role": "user", "content": "b"},
        [tabbyapi.system("Be brief."), user("c")],
        tabbyapi.ChatCompletionRequest(messages=[user("d")]),
    ]
    with ReplayServer([echo]) as server:
        results = run(server.url, "map", prompts, system="Be kind.", concurrency=1)
    assert [each.text for each in results] == ["a", "b", "c", "d"]
    heads = [request.json["messages"][0]["content"] for request in server.requests]
    assert heads == ["Be kind.", "Be kind.", "Be brief.", "d"]


def test_parse_many_reads_values_and_keeps_what_cannot_be_read(run: Run) -> None:
    with ReplayServer([echo]) as server:
        results = run(server.url, "parse_many", ['{"value": 1}', "one", '{"value": 2}'], Number)
    assert [each.value for each in results] == [Number(1), None, Number(2)]
    assert isinstance(results[1].error, tabbyapi.OutputError)
    assert results[1].text == "one"
    assert all("json_schema" in request.json for request in server.requests)


def test_prompts_are_taken_as_they_are_needed(run: Run) -> None:
    taken = 0

    def prompts() -> Iterator[str]:
        nonlocal taken
        for taken in itertools.count(1):  # noqa: B007  # counts what was taken
            yield "a"

    with ReplayServer([echo]) as server, tabbyapi.Client(server.url) as client:
        results = client.chat.map(prompts(), concurrency=2)
        for _ in range(3):
            next(results)
        results.close()  # type: ignore[attr-defined]  # it is a generator
    assert taken <= 3 + 2 * 3
    with pytest.raises(ZeroDivisionError):  # and an error of the iterable is raised
        run("http://127.0.0.1:1", "map", (1 // 0 for _ in "a"))


@pytest.mark.parametrize(
    ("prompts", "params", "field"),
    [
        ("one prompt", {}, "prompts"),
        (["a"], {"concurrency": 0}, "concurrency"),
        (["a"], {"retries": -1}, "retries"),
        (["a"], {"n": 2}, "n"),
        (["a"], {"temperature": -1}, "temperature"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(
    run: Run, prompts: Any, params: dict[str, Any], field: str
) -> None:
    with ReplayServer([echo]) as server:
        with pytest.raises(tabbyapi.ValidationError) as error:
            run(server.url, "map", prompts, **params)
        assert error.value.field == field
        assert server.requests == []


def test_progress_is_told_to_a_function(run: Run) -> None:
    told: list[tuple[int, int]] = []
    with ReplayServer([echo]) as server:
        run(
            server.url,
            "map",
            ["a", [], "b"],
            progress=lambda done, failed: told.append((done, failed)),
        )
    assert told == [(1, 0), (2, 1), (3, 1)]


def test_the_bar_stays_silent_where_there_is_no_terminal(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    with ReplayServer([echo]) as server:
        run(server.url, "map", ["a", "b"], progress=True)
    assert capfd.readouterr() == ("", "")


def test_the_bar_counts_at_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ReplayServer([echo]) as server:
        run(server.url, "map", ["a", [], "b"], progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "1 failed" in shown.err


def test_closing_an_async_run_cancels_what_is_under_way() -> None:
    async def leave(url: str) -> None:
        async with tabbyapi.AsyncClient(url) as client:
            results = client.chat.map(["0", "6000", "6000"], concurrency=3)
            first = await anext(results)
            assert first.text == "0"
            await results.aclose()  # type: ignore[attr-defined]  # it is a generator

    with ReplayServer([echo]) as server:
        since = time.monotonic()
        asyncio.run(leave(server.url))
        assert time.monotonic() - since < 20


def test_an_async_iterable_gives_prompts() -> None:
    async def prompts() -> AsyncIterator[str]:
        for text in ("a", "b"):
            await asyncio.sleep(0)
            yield text

    async def collect(url: str) -> list[str]:
        async with tabbyapi.AsyncClient(url) as client:
            return [each.text async for each in client.chat.map(prompts())]

    with ReplayServer([echo]) as server:
        assert asyncio.run(collect(server.url)) == ["a", "b"]


def test_a_run_that_is_left_does_not_hold_up_the_program() -> None:
    with ReplayServer([echo]) as server, tabbyapi.Client(server.url) as client:
        since = time.monotonic()
        results = client.chat.map(["0", "300", "300", "300"], concurrency=2)
        assert next(results).text == "0"
        while len(server.requests) < 3:
            time.sleep(0.01)
        results.close()  # type: ignore[attr-defined]  # it is a generator
        assert time.monotonic() - since < 2
