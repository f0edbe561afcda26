"""Batches against a server that answers, fails, goes away and comes back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tabbyapi
from support.echo import Decide, EchoServer, chat_answer
from tabbyapi.batch import BatchTotals, Defaults, ServerGone, run_batch


def lines(*items: Any) -> list[bytes]:
    return [json.dumps(item).encode() + b"\n" for item in items]


def batch(server: EchoServer, source: Iterable[bytes], output: Path, **options: Any) -> BatchTotals:
    async def run() -> BatchTotals:
        async with tabbyapi.AsyncClient(server.url, retry=0) as client:
            return await run_batch(client, source, output, **options)

    return asyncio.run(run())


def results(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_bytes().splitlines()]


def texts(output: Path) -> list[str | None]:
    return [result["text"] for result in results(output)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_every_form_of_line_is_answered_in_order(output: Path) -> None:
    source = lines(
        "a",
        {"prompt": "b", "custom_id": "B", "max_tokens": 3},
        [{"role": "user", "content": "c"}],
        {"messages": [{"role": "user", "content": "d"}], "temperature": 0},
        {
            "custom_id": "E",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "messages": [{"role": "user", "content": "e"}],
                "max_completion_tokens": 7,
                "seed": 1,
                "stream": True,
                "user": None,
            },
        },
    )
    source.insert(2, b"  \r\n")
    with EchoServer() as server:
        server.keep_bodies = True
        totals = batch(server, source, output, defaults=Defaults("Be brief.", {"max_tokens": 5}))
    assert texts(output) == ["echo: a", "echo: b", "echo: c", "echo: d", "echo: e"]
    assert [r["index"] for r in results(output)] == [0, 1, 3, 4, 5]
    assert [r["custom_id"] for r in results(output)] == [None, "B", None, None, "E"]
    assert results(output)[0]["response"] == {"status_code": 200, "body": chat_answer("echo: a")}
    assert (totals.done, totals.failed, totals.answered_now) == (5, 0, 5)
    by_text = {body["messages"][-1]["content"]: body for body in server.bodies}
    assert {text: body["max_tokens"] for text, body in by_text.items()} == {
        "a": 5,
        "b": 3,
        "c": 5,
        "d": 5,
        "e": 7,
    }
    assert all(body["messages"][0]["content"] == "Be brief." for body in by_text.values())
    assert by_text["e"]["seed"] == 1
    assert "stream" not in by_text["e"]
    assert "user" not in by_text["e"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "half', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "a line is a prompt"),
        (b"{}", "a line is a prompt"),
        (b'{"prompt": "a", "messages": []}', "a line is a prompt"),
        (b'{"prompt": ["a"]}', "prompt must be text"),
        (b'{"messages": "a"}', "messages must be a list"),
        (b"[]", "messages"),
        (b'{"prompt": "a", "custom_id": 7}', "custom_id must be a string"),
        (b'{"prompt": "a", "temperature": 99}', "temperature must be a number from 0 to 10"),
        (b'{"prompt": "a", "temperatur": 1}', "did you mean temperature"),
        (b'{"url": "/v1/other", "body": {}}', "url must be"),
        (b'{"url": "/v1/chat/completions", "body": []}', "an object as its"),
        (b'{"url": "/v1/chat/completions", "body": {}, "x": 1}', "no 'x'"),
    ],
)
def test_a_line_that_cannot_be_asked_is_an_error_beside_the_others(
    output: Path, line: bytes, reason: str
) -> None:
    with EchoServer() as server:
        totals = batch(server, [*lines("a"), line, b"\n", *lines("b")], output)
    good, bad, last = results(output)
    assert (good["text"], last["text"]) == ("echo: a", "echo: b")
    assert reason in bad["error"]["message"]
    assert bad["error"]["code"] == "validation_error"
    assert (bad["text"], bad["response"], totals.failed) == (None, None, 1)
    assert server.asked.total() == 2


def refusing(status: int, *, times: int = 1_000, body: Any = None) -> Decide:
    """The word "bad" is refused this often."""
    answer = {"detail": "no"} if body is None else body
    return lambda text, count: (status, answer) if text == "bad" and count <= times else None


def test_a_refused_line_says_why_and_the_others_go_on(output: Path) -> None:
    with EchoServer(refusing(400)) as server:
        batch(server, lines("a", {"prompt": "bad", "custom_id": "x"}, "b"), output)
    assert texts(output) == ["echo: a", None, "echo: b"]
    bad = results(output)[1]
    assert bad["custom_id"] == "x"
    assert bad["error"] == {
        "code": "invalid_request",
        "message": "no",
        "status_code": 400,
        "attempts": 1,
    }


def test_a_passing_failure_is_tried_again_and_a_lasting_one_given_up(output: Path) -> None:
    cut_short = chat_answer("half an")
    cut_short["choices"][0]["eos_reason"] = cut_short["usage"] = None
    with EchoServer(refusing(200, times=1, body=cut_short)) as server:
        batch(server, lines("bad"), output)
    assert texts(output) == ["echo: bad"]
    with EchoServer(refusing(502, times=1)) as server:
        batch(server, lines("bad"), output, overwrite=True)
    assert texts(output) == ["echo: bad"]
    with EchoServer(refusing(502)) as server:
        totals = batch(server, lines("bad"), output, overwrite=True, retries=1)
    assert results(output)[0]["error"]["attempts"] == 2
    assert totals.failed == 1


def test_failed_lines_are_done_again_only_when_asked_to(output: Path) -> None:
    source = lines("a", "bad", "b")
    with EchoServer(refusing(500, times=1)) as server:
        batch(server, source, output)
        batch(server, source, output)
        assert texts(output) == ["echo: a", None, "echo: b"]
        batch(server, source, output, retry_failed=True)
    assert texts(output) == ["echo: a", "echo: bad", "echo: b"]
    assert server.asked == {"a": 1, "bad": 2, "b": 1}


def test_a_wrong_key_stops_the_batch_and_marks_no_line(output: Path) -> None:
    with (
        EchoServer(refusing(401, body={"detail": "Invalid API key"})) as server,
        pytest.raises(tabbyapi.AuthenticationError),
    ):
        batch(server, lines("a", "b", "bad", "c"), output, concurrency=1)
    assert texts(output) == ["echo: a", "echo: b"]


def test_a_server_without_a_model_is_not_waited_for_at_the_beginning(output: Path) -> None:
    body = {"detail": "No models are currently loaded."}
    with (
        EchoServer(refusing(503, body=body)) as server,
        pytest.raises(tabbyapi.ModelNotLoadedError),
    ):
        batch(server, lines("bad"), output)
    assert results(output) == []


def test_a_model_that_is_unloaded_for_a_while_is_waited_for(output: Path) -> None:
    said: list[str] = []
    gone = (503, {"detail": "No models are currently loaded."})
    looks = iter([gone, gone])

    def decide(text: str, times: int) -> tuple[int, Any] | None:
        if text == "/v1/model":
            return next(looks, None)
        return gone if text == "b" and times == 1 else None

    with EchoServer(decide) as server:
        batch(server, lines("a", "b", "c"), output, concurrency=1, on_message=said.append)
    assert texts(output) == ["echo: a", "echo: b", "echo: c"]
    assert said[0] == "The server has no model loaded: waiting up to 600 s for it."
    assert said[1].startswith("The server is back after")


def test_a_server_that_restarts_in_the_middle_loses_no_line(output: Path) -> None:
    said: list[str] = []
    with EchoServer(delay=0.01) as server:

        def restart() -> None:
            server.go_away()
            threading.Timer(0.6, server.come_back).start()

        def progress(totals: BatchTotals) -> None:
            if totals.done in (30, 90):
                threading.Thread(target=restart).start()

        source = lines(*(f"p{i}" for i in range(200)))
        totals = batch(server, source, output, on_progress=progress, on_message=said.append)
    assert texts(output) == [f"echo: p{i}" for i in range(200)]
    assert (totals.done, totals.failed) == (200, 0)
    assert sum(message.startswith("The server does not answer") for message in said) == 2


def test_a_server_that_stays_away_ends_the_batch_and_the_next_run_goes_on(output: Path) -> None:
    source = lines(*(f"p{i}" for i in range(40)))
    with EchoServer(delay=0.005) as server:

        def progress(totals: BatchTotals) -> None:
            if totals.done == 10:
                threading.Thread(target=server.go_away).start()

        with pytest.raises(ServerGone, match="does not answer, and did not change that within 1 s"):
            batch(server, source, output, on_progress=progress, wait=1)
        there = results(output)
        assert 10 <= len(there) < 40
        assert all(result["error"] is None for result in there)
        server.come_back()
        batch(server, source, output)
    assert texts(output) == [f"echo: p{i}" for i in range(40)]


def test_a_line_that_kills_every_server_fails_in_the_end(output: Path) -> None:
    with EchoServer() as server:

        def decide(text: str, times: int) -> None:
            if text == "bad":
                server.drop_connections()

        server.decide = decide
        batch(server, lines("a", "bad", "b"), output, concurrency=1)
    assert texts(output) == ["echo: a", None, "echo: b"]
    assert results(output)[1]["error"]["attempts"] == 11


def test_a_server_that_was_never_there_is_not_waited_for(output: Path) -> None:
    with EchoServer() as server:
        server.go_away()
        with pytest.raises(tabbyapi.ConnectError):
            batch(server, lines("a"), output)
        server.come_back()


def test_the_input_is_read_no_further_than_there_are_workers(output: Path) -> None:
    taken = 0
    ahead = []

    def source() -> Iterator[bytes]:
        nonlocal taken
        for i in range(300):
            taken += 1
            yield b'"p%d"\n' % i

    with EchoServer() as server:
        batch(
            server,
            source(),
            output,
            concurrency=4,
            on_progress=lambda totals: ahead.append(taken - totals.done),
        )
    assert max(ahead) <= 4


def test_other_options_are_not_mixed_into_the_same_results(output: Path) -> None:
    with EchoServer() as server:
        batch(server, lines("a"), output)
        with pytest.raises(tabbyapi.ValidationError, match="with other options"):
            batch(server, lines("a"), output, defaults=Defaults("Be brief."))
        batch(server, lines("a"), output)
    assert server.asked == {"a": 1}


def test_results_may_stay_as_they_came_and_without_the_whole_answers(output: Path) -> None:
    def decide(text: str, times: int) -> None:
        server.delay = 0.3 if text == "slow" else 0.0

    with EchoServer(decide) as server:
        options: dict[str, Any] = {"ordered": False, "keep_body": False, "concurrency": 2}
        batch(server, lines("slow", "a", "b"), output, **options)
    assert texts(output) == ["echo: a", "echo: b", "echo: slow"]
    assert [r["response"] for r in results(output)] == [None] * 3
