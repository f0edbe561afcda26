"""`tabbyapi chat` at a terminal, driven as a person would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from support.replay import ReplayServer

from .scripted import PROGRAM, answering, bodies, clean_environment, streamed, unfinished

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
        child.expect("/help says the rest")
        _send(child, "Hello")
        child.expect("1 messages, the last: Hello")
        _send(child, "Again")
        child.expect("3 messages, the last: Again")
        _leave(child)
    assert "Traceback" not in child.before


def test_ctrl_c_stops_the_answer_and_keeps_what_came(start: Start) -> None:
    with ReplayServer([unfinished("Once upon"), streamed("ok then")]) as server:
        child = start("chat", "--url", server.url)
        child.expect("/help says the rest")
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
        child.expect("/help says the rest")
        child.send("half a word\x03")  # empties the line
        child.send("\x03")
        child.expect("Ctrl-C again, or Ctrl-D, leaves")
        child.send("\x03")
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == 0
    assert not bodies(server.requests)
