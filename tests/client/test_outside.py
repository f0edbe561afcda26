"""What a program sees of a client: logs, hooks, raw answers, custom routes, its own transport."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
import traceback
from typing import Any

import msgspec
import pytest

import tabbyapi
from support.both import ServiceCall
from tabbyapi import testing, user
from tabbyapi.testing import ReplayServer, json_reply, replay_server

KEY = "secret-key-of-the-tests"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
ANSWER = {"id": "c", "choices": [{"index": 0, "message": {"content": "fine"}}], "usage": USAGE}
GOOD = json_reply(200, ANSWER, "content-type: application/json", "x-request-id: 7")
BUSY = json_reply(503, {"detail": "busy"}, "content-type: application/json", "retry-after: 0")
STREAM = testing.stream_answer(["a", "b"])
STREAMED = testing.Reply(
    [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM.body], "close"
)


def ask(call: ServiceCall, server: ReplayServer, method: str = "chat.create", **more: Any) -> Any:
    return call(server.url, method, [user("prompt")], **more)


# ------------------------------------------------------------------------------- logging


def test_a_request_is_one_line_of_the_log_and_a_retry_a_warning(
    call: ServiceCall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tabbyapi")
    with replay_server(BUSY, GOOD) as server:
        ask(call, server, settings={"api_key": KEY})
    failed, retry, fine = [record.getMessage() for record in caplog.records]
    assert failed.startswith("POST /v1/chat/completions 503 in ")
    assert "busy" in retry
    assert fine.startswith("POST /v1/chat/completions 200 in ")
    assert fine.endswith(" ms, 5 + 3 tokens")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert "prompt" not in caplog.text


def test_a_stream_is_logged_when_it_has_ended(
    call: ServiceCall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tabbyapi")
    with replay_server(STREAMED) as server:
        ask(call, server, "chat.create_stream")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("POST /v1/chat/completions 200 in ")


def test_bodies_are_logged_at_debug_and_keys_never(
    call: ServiceCall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tabbyapi")
    with replay_server(GOOD, testing.Reply([], "close")) as server:
        ask(call, server, settings={"api_key": KEY, "headers": {"Authorization": f"Bearer {KEY}"}})
        with pytest.raises(tabbyapi.RequestError):
            ask(call, server, settings={"api_key": KEY, "retry": 0})
    assert '"content":"prompt"' in caplog.text
    assert "fine" in caplog.text
    assert "RequestError" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("DEBUG", 3), ("error", 0), ("", 0)])
def test_tabby_log_shows_the_log_to_those_who_configured_none(level: str, lines: int) -> None:
    program = "import sys, tabbyapi; tabbyapi.Client(sys.argv[1]).chat.create([tabbyapi.user('x')])"
    with replay_server(GOOD) as server:
        result = subprocess.run(
            [sys.executable, "-c", program, server.url],
            env={"TABBY_LOG": level, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
    assert len(result.stderr.splitlines()) == lines, result.stderr


def test_an_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABBY_LOG", "loud")
    with pytest.raises(tabbyapi.ValidationError, match="debug"):
        tabbyapi.Client()


# --------------------------------------------------------------------------------- hooks


def test_hooks_are_called_for_every_try(call: ServiceCall) -> None:
    told: list[Any] = []
    hooks = {
        "request": [lambda request: told.append(request.method)],
        "response": [lambda request, answer: told.append(answer.status)],
        "retry": [lambda request, error, wait: told.append((error.status_code, wait))],
    }
    with replay_server(BUSY, GOOD) as server:
        ask(call, server, settings={"event_hooks": hooks})
    assert told == ["POST", 503, (503, 0.0), "POST", 200]
    told.clear()
    with replay_server(STREAMED) as server:
        ask(call, server, "chat.create_stream", settings={"event_hooks": hooks})
    assert told == ["POST", 200]


def test_hooks_may_be_async() -> None:
    told: list[int] = []

    async def hook(request: Any, answer: Any) -> None:
        await asyncio.sleep(0)
        told.append(answer.status)

    async def main() -> None:
        async with tabbyapi.AsyncClient(server.url, event_hooks={"response": [hook]}) as client:
            await client.chat.create([user("x")])

    with replay_server(GOOD) as server:
        asyncio.run(main())
    assert told == [200]


def test_a_hook_that_fails_ends_the_call_and_closes_its_stream(call: ServiceCall) -> None:
    def hook(request: Any, answer: Any) -> None:
        raise ZeroDivisionError

    hanging = testing.Reply(STREAMED.pieces, "hang")
    for reply, method in ((GOOD, "chat.create"), (hanging, "chat.create_stream")):
        with replay_server(reply) as server:
            with pytest.raises(ZeroDivisionError):
                ask(call, server, method, settings={"event_hooks": {"response": [hook]}})
            assert reply is GOOD or server.left.wait(5)


@pytest.mark.parametrize("hooks", [{"answer": []}, {"request": print}, {"request": [5]}, [print]])
def test_hooks_that_cannot_be_called_are_refused(hooks: Any) -> None:
    for kind in (tabbyapi.Client, tabbyapi.AsyncClient):
        with pytest.raises(tabbyapi.ValidationError) as caught:
            kind(event_hooks=hooks)
        assert caught.value.field == "event_hooks"


# --------------------------------------------------------------------------- raw answers


def test_a_raw_response_has_status_headers_time_and_the_result(call: ServiceCall) -> None:
    with replay_server(GOOD) as server:
        raw = ask(call, server, "chat.with_raw_response.create")
    assert raw.status == 200
    assert raw.headers["x-request-id"] == "7"
    assert 0 < raw.elapsed < 10
    assert b"fine" in raw.body
    assert raw.parse().text == "fine"


def test_a_raw_response_of_another_service_and_of_an_unreadable_answer(call: ServiceCall) -> None:
    with replay_server(json_reply(200, {"tokens": [1, 2], "length": 2})) as server:
        assert call(server.url, "tokens.with_raw_response.encode", "x").parse() == [1, 2]
    with replay_server(json_reply(200, b"<html>")) as server:
        raw = ask(call, server, "chat.with_raw_response.create")
        assert raw.body == b"<html>"
        with pytest.raises(tabbyapi.RequestError, match="TabbyAPI server"):
            raw.parse()
    refusing = replay_server(json_reply(400, {"detail": "no"}))
    with refusing as server, pytest.raises(tabbyapi.InvalidRequestError):
        ask(call, server, "chat.with_raw_response.create")
    with pytest.raises(AttributeError, match="no method"):
        _ = tabbyapi.Client().chat.with_raw_response.no_such_method


def test_a_raw_response_of_a_stream_holds_the_stream() -> None:
    async def main() -> str:
        async with tabbyapi.AsyncClient(server.url) as client:
            raw = await client.chat.with_raw_response.create_stream([user("x")])
            assert raw.status == 200
            return (await raw.parse().until_done()).text  # type: ignore[no-any-return]

    with replay_server(STREAMED) as server:
        raw = tabbyapi.Client(server.url).chat.with_raw_response.create_stream([user("x")])
        assert raw.headers["content-type"] == "text/event-stream"
        assert raw.parse().until_done().text == "ab"
        assert asyncio.run(main()) == "ab"


# ------------------------------------------------------------- headers and custom routes


def test_headers_of_a_call_join_those_of_the_client(call: ServiceCall) -> None:
    settings = {"headers": {"x-a": "1", "User-agent": "mine"}, "api_key": KEY}
    with replay_server(GOOD) as server:
        ask(call, server, settings=settings, extra_headers={"X-A": "2", "x-b": "3"})
        ask(call, server, settings=settings)
    first, second = [request.headers for request in server.requests]
    assert (first["x-a"], first["x-b"], first["user-agent"]) == ("2", "3", "mine")
    assert second["x-a"] == "1"
    assert "x-b" not in second
    with replay_server(GOOD) as server, pytest.raises(tabbyapi.ValidationError) as caught:
        ask(call, server, extra_headers={"Content-Length": "5"})
    assert caught.value.field == "extra_headers"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "5"},
        {"content-type": "text/plain"},
        {"Transfer-Encoding": "chunked"},
        {"x a": "1"},
        {"x:": "1"},
        {"": "1"},
        {"x-\u00e9": "1"},
        {"x": "a\r\nb"},
        {"x": "a\0"},
        {"x": "\udc80"},
        {"x": 5},
        [("x", "1")],
    ],
)
def test_headers_that_cannot_be_sent_are_refused_when_the_client_is_made(headers: Any) -> None:
    for kind in (tabbyapi.Client, tabbyapi.AsyncClient):
        with pytest.raises(tabbyapi.ValidationError) as caught:
            kind(headers=headers)
        assert caught.value.field == "headers"


class Thing(msgspec.Struct):
    name: str


def test_a_route_newer_than_the_client_can_be_called(call: ServiceCall) -> None:
    with replay_server(json_reply(200, {"name": "new"})) as server:
        thing = call(server.url, "request", "POST", "/v1/new", json={"a": [1]}, cast_to=Thing)
        assert thing == Thing("new")
        assert call(server.url, "request", "get", "/v1/new?x=1") == {"name": "new"}
        raw = call(server.url, "request", "DELETE", "/v1/new", cast_to=bytes, auth="admin")
        assert raw == b'{"name": "new"}'
    first, second, third = server.requests
    assert (first.json, first.headers["content-type"]) == ({"a": [1]}, "application/json")
    assert (second.method, second.target, second.body) == ("GET", "/v1/new?x=1", b"")
    assert third.method == "DELETE"
    missing = replay_server(json_reply(404, {"detail": "Not Found"}))
    with missing as server, pytest.raises(tabbyapi.NotFoundError):
        call(server.url, "request", "GET", "/v1/none")


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (("HEAD", "/"), {}, "method"),
        (("GET", "v1"), {}, "path"),
        (("GET", "/a b"), {}, "path"),
        (("GET", "/a\r\nx: y"), {}, "path"),
        (("POST", "/"), {"json": object()}, "json"),
        (("GET", "/"), {"auth": "root"}, "auth"),
        (("GET", "/"), {"cast_to": list[int] | set[int]}, "cast_to"),
        (("GET", "/"), {"body": b""}, "body"),
    ],
)
def test_a_custom_request_that_cannot_be_sent_is_refused(
    call: ServiceCall, arguments: Any, options: Any, field: str
) -> None:
    with pytest.raises(tabbyapi.ValidationError) as caught:
        call("http://127.0.0.1:9", "request", *arguments, **options)
    assert caught.value.field == field


# ------------------------------------------------------------------- its own transport


def test_a_transport_that_answers_by_a_function_needs_no_server(call: ServiceCall) -> None:
    def answer(request: testing.Request) -> testing.Answer:
        assert request.headers["x-api-key"] == KEY
        if b'"stream":true' in (request.body or b""):
            return testing.stream_answer(["Hel", "lo"])
        return testing.chat_answer("Hello")

    kind: Any = (
        testing.MockTransport if call.__name__ == "call_sync" else testing.AsyncMockTransport
    )  # type: ignore[attr-defined]
    transport = kind(answer)
    settings = {"transport": transport, "api_key": KEY}
    assert call(None, "chat.create", [user("x")], settings=settings).text == "Hello"  # type: ignore[arg-type]
    assert call(None, "chat.create_stream", [user("x")], settings=settings).text == "Hello"  # type: ignore[arg-type]
    assert [request.method for request in transport.requests] == ["POST", "POST"]
    assert KEY not in repr(transport.requests)


def test_what_is_no_transport_is_refused() -> None:
    mock = testing.MockTransport(lambda request: testing.chat_answer(""))
    amock = testing.AsyncMockTransport(lambda request: testing.chat_answer(""))
    for kind, given in [
        (tabbyapi.Client, object()),
        (tabbyapi.Client, amock),
        (tabbyapi.AsyncClient, mock),
        (tabbyapi.Client, testing.MockTransport),
    ]:
        with pytest.raises(tabbyapi.ValidationError) as caught:
            kind(transport=given)
        assert caught.value.field == "transport"
    with pytest.raises(tabbyapi.ValidationError) as caught:
        tabbyapi.Client(transport=mock, proxy="http://p:1")
    assert caught.value.field == "proxy"


# ------------------------------------------------------------------------ loops and keys


def test_an_async_client_serves_several_event_loops_at_once() -> None:
    with replay_server(GOOD) as server:
        client = tabbyapi.AsyncClient(server.url)
        seen: list[Any] = []
        closed = threading.Event()

        async def several() -> None:
            for _ in range(5):
                seen.append((await client.chat.create([user("x")])).text)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(closed.wait, 20)

        def run() -> None:
            try:
                asyncio.run(several())
            except BaseException as error:
                seen.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(seen) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        asyncio.run(client.close())  # from another loop again
        closed.set()
        for thread in threads:
            thread.join(30)
    assert seen == ["fine"] * 20
    assert server.connections == 4


@pytest.mark.parametrize("method", ["chat.create", "chat.create_stream"])
def test_no_key_is_in_the_local_variables_of_a_failed_call(call: ServiceCall, method: str) -> None:
    replies = [testing.Reply([], "close"), json_reply(401, {"detail": "no"}), json_reply(200, b"x")]
    for reply in replies:
        with replay_server(reply) as server, pytest.raises(tabbyapi.TabbyError) as caught:
            ask(call, server, method, settings={"api_key": KEY, "retry": 0})
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown = [
            line
            for frame in frames.stack
            if "tabbyapi" in frame.filename and "/tests/" not in frame.filename
            for line in (frame.locals or {}).values()
        ]
        assert shown
        assert not [line for line in shown if KEY in line]
