"""`tabbyapi chat` at a terminal, driven as a person would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from support.replay import ReplayServer, Reply, Request, json_reply
from tabbyapi.cli.sessions import fresh_name

from .scripted import PROGRAM, answering, bodies, chats, clean_environment, streamed, unfinished

Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program in a pseudo-terminal; it is ended with the test."""
    running: list[pexpect.spawn[str]] = []

    def spawn(*args: str, **environment: str) -> pexpect.spawn[str]:
        env = clean_environment(tmp_path, TERM="xterm-256color", PROMPT_TOOLKIT_NO_CPR="1")
        child = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], *args],
            env={**env, **environment},
            cwd=str(tmp_path),
            encoding="utf-8",
            dimensions=(24, 80),
            timeout=20,
        )
        running.append(child)
        return child

    yield spawn
    for child in running:
        child.close(force=True)


def _send(child: pexpect.spawn[str], text: str) -> None:
    child.send(text + "\r")


def _leave(child: pexpect.spawn[str]) -> None:
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_turns_make_a_conversation_until_ctrl_d(start: Start) -> None:
    with ReplayServer([answering]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "Hello")
        child.expect("1 messages, the last: Hello")
        _send(child, "Again")
        child.expect("3 messages, the last: Again")
        _leave(child)
    assert "Traceback" not in child.before


def test_what_is_typed_while_an_answer_is_awaited_is_sent_after_it(start: Start) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slowly(request: Request) -> Reply:
        asked.set()
        assert go_on.wait(20)
        return answering(request)

    with ReplayServer([chats(slowly, answering)]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "One")
        assert asked.wait(20)
        _send(child, "Two")
        go_on.set()
        child.expect("1 messages, the last: One")
        child.expect("3 messages, the last: Two")
        _leave(child)


def test_ctrl_c_stops_the_answer_and_keeps_what_came(start: Start) -> None:
    with ReplayServer([chats(unfinished("Once upon"), streamed("ok then"))]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "Tell me a tale")
        child.expect("Once upon")
        child.send("\x03")
        child.expect("stopped")
        assert server.left.wait(10)
        _send(child, "go on")
        child.expect("ok then")
        _leave(child)
    assert bodies(server.requests)[1]["messages"][1] == {
        "role": "assistant",
        "content": "Once upon",
    }


def test_ctrl_c_twice_at_an_empty_prompt_leaves(start: Start) -> None:
    with ReplayServer([answering]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        child.send("half a word\x03")  # empties the line
        child.send("\x03")
        child.expect("Ctrl-C again, or Ctrl-D, leaves")
        child.send("\x03")
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == 0
    assert not bodies(server.requests)


def test_a_retry_that_fails_leaves_the_answer_there_was(start: Start) -> None:
    count = 0

    def failing_once(request: Request) -> Reply:
        nonlocal count
        if request.target != "/v1/chat/completions":
            return answering(request)
        count += 1
        return json_reply(400, {"detail": "not now"}) if count == 2 else answering(request)

    with ReplayServer([failing_once]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "Hello")
        child.expect("1 messages, the last: Hello")
        _send(child, "/retry")
        child.expect("not now")
        _send(child, "Again")
        child.expect("3 messages, the last: Again")
        _send(child, "/retry")
        child.expect("3 messages, the last: Again")
        _leave(child)


def test_models_are_shown_and_changed(start: Start, tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("xllamacpp")
    from tabbyapi import LocalServer

    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").write_bytes(tiny_model.read_bytes())
    with LocalServer(model=tmp_path / "one.gguf", n_ctx=512) as server:
        keys = {"TABBY_API_KEY": server.api_key, "TABBY_ADMIN_KEY": server.admin_key}
        child = start("chat", "--url", server.url, "--max-tokens", "4", **keys)
        child.expect("More: /help")
        _send(child, "/model")
        child.expect("Model: one")
        child.expect("Others: two")
        _send(child, "/model two")
        child.expect("Model: two")
        _send(child, "/model three")
        child.expect("Could not find")
        _leave(child)


def test_an_edit_that_is_cancelled_changes_nothing(start: Start) -> None:
    with ReplayServer([answering]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "Hello")
        child.expect("1 messages, the last: Hello")
        _send(child, "/edit")
        child.expect("> Hello")
        child.send("\x03")
        child.expect("The message stays as it was")
        _send(child, "Again")
        child.expect("3 messages, the last: Again")
        _leave(child)


def test_an_edited_message_takes_the_place_of_the_old_one(start: Start) -> None:
    with ReplayServer([answering]) as server:
        child = start("chat", "--url", server.url)
        child.expect("More: /help")
        _send(child, "Hello")
        child.expect("1 messages, the last: Hello")
        _send(child, "/edit")
        child.expect("> Hello")
        _send(child, " there")
        child.expect("1 messages, the last: Hello there")
        _leave(child)


def test_a_model_that_is_not_loaded_is_offered_by_number(start: Start) -> None:
    loaded: list[bytes] = []

    def unloaded(request: Request) -> Reply:
        if request.target == "/v1/model/load":
            loaded.append(request.body)
        if request.target in ("/v1/models", "/v1/model/list"):
            cards = [{"id": name, "object": "model"} for name in ("small", "large")]
            return json_reply(200, {"object": "list", "data": cards})
        return json_reply(503, {"detail": "No models are currently loaded."})

    with ReplayServer([unloaded]) as server:
        child = start("chat", "--url", server.url, TABBY_ADMIN_KEY="a" * 8)
        child.expect("More: /help")
        _send(child, "Hello")
        child.expect("1  small")
        child.expect("2  large")
        child.expect("arrow up")
        _send(child, "2")
        child.expect("Loading large")
        child.expect("Error")
        _leave(child)
    assert len(loaded) == 1
    assert b"large" in loaded[0]


def test_two_conversations_begun_at_once_have_two_names() -> None:
    assert len({fresh_name() for _ in range(20)}) == 20
