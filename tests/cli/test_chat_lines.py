"""`tabbyapi chat` over a pipe: each line is a turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.replay import ReplayServer, json_reply
from tabbyapi import LocalServer

from .scripted import answering, bodies, run, streamed


def test_each_line_is_a_turn_of_one_conversation(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(
            tmp_path,
            *("chat", "--url", server.url, "--system", "Be brief."),
            stdin="Hello\n\nWhat is TabbyAPI?\n",
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 messages, the last: Hello",
        "4 messages, the last: What is TabbyAPI?",
    ]
    assert bodies(server.requests)[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "2 messages, the last: Hello"},
        {"role": "user", "content": "What is TabbyAPI?"},
    ]


def test_output_has_no_colours_and_no_cursor_tricks(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "chat", "--url", server.url, stdin="a **bold** word\n")
    assert "\x1b" not in done.stdout + done.stderr
    assert "**bold**" in done.stdout


def test_a_last_line_without_a_line_break_is_a_turn_as_well(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "chat", "--url", server.url, stdin="one\ntwo")
    assert len(done.stdout.splitlines()) == 2


def test_nothing_to_say_is_no_error(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "chat", "--url", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_turn_that_fails_ends_it_after_the_answers_before(tmp_path: Path) -> None:
    refusal = json_reply(503, {"detail": "No models are currently loaded."})
    with ReplayServer([streamed("fine"), refusal]) as server:
        done = run(tmp_path, "chat", "--url", server.url, stdin="one\ntwo\nthree\n")
    assert (done.returncode, done.stdout) == (1, "fine\n")
    assert "No models are currently loaded." in done.stderr
    assert len(bodies(server.requests)) == 2


def test_an_empty_answer_stays_in_the_conversation(tmp_path: Path) -> None:
    with ReplayServer([streamed(), streamed("ok")]) as server:
        done = run(tmp_path, "chat", "--url", server.url, stdin="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "\nok\n")
    assert bodies(server.requests)[1]["messages"][1] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("options", [(), ("--max-tokens", "20")], ids=["any length", "short"])
def test_a_conversation_may_grow_longer_than_the_context(
    tmp_path: Path, tiny_model: Path, options: tuple[str, ...]
) -> None:
    pytest.importorskip("xllamacpp")
    with LocalServer(model=tiny_model, n_ctx=512) as server:
        lines = [f"Turn {i}: tell me about the number {i * 17}, please." for i in range(40)]
        done = run(
            tmp_path,
            *("chat", "--url", server.url, *options),
            stdin="\n".join(lines),
            TABBY_API_KEY=server.api_key,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 40
