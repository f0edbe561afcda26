"""Keys pressed at any moment of `tabbyapi chat`: during an answer, and around it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

from support.replay import ReplayServer, Reply, Request

from .scripted import (
    PROGRAM,
    answering,
    bodies,
    chats,
    chatting,
    clean_environment,
    send,
    streamed,
    unfinished,
)


class Held:
    """A reply that waits until the test lets it go."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> Reply:
        self.asked.set()
        assert self.go_on.wait(20)
        return answering(request)


def paste(text: str) -> str:
    """What a terminal sends for a paste after a program has asked for brackets."""
    return f"\x1b[200~{text}\x1b[201~"


def said(server: ReplayServer) -> list[str]:
    """The user's last message of each request."""
    return [body["messages"][-1]["content"] for body in bodies(server.requests)]


def test_a_paste_during_an_answer_is_one_piece_of_the_next_message(tmp_path: Path) -> None:
    held = Held()
    with ReplayServer([chats(held, answering)]) as server, chatting(tmp_path, server) as child:
        child.send("Hello\r")
        assert held.asked.wait(20)
        child.expect(re.escape("\x1b[?2004h"))  # pastes are bracketed from here on
        child.send(paste("one\r\ntwo\nthree"))
        time.sleep(0.2)
        held.go_on.set()
        child.expect("1 messages, the last: Hello")
        child.expect("three")
        assert said(server) == ["Hello"]  # a paste is not sent by itself
        send(child, " four", "3 messages")
    assert said(server) == ["Hello", "one\ntwo\nthree four"]


def test_lines_typed_during_an_answer_are_messages_of_their_own(tmp_path: Path) -> None:
    held = Held()
    with ReplayServer([chats(held, answering)]) as server, chatting(tmp_path, server) as child:
        child.send("One\r")
        assert held.asked.wait(20)
        child.send("Two\r")
        child.send("Three\r")
        held.go_on.set()
        child.expect("5 messages, the last: Three")
    assert said(server) == ["One", "Two", "Three"]


def test_ctrl_c_works_at_once_behind_a_long_paste_and_drops_it(tmp_path: Path) -> None:
    replies = chats(unfinished("Once upon"), answering)
    with ReplayServer([replies]) as server, chatting(tmp_path, server) as child:
        send(child, "Tell me a tale", "Once upon")
        child.send(paste("many words " * 2000))  # five times what a terminal's queue holds
        began = time.monotonic()
        child.send("\x03")
        child.expect("stopped")
        assert time.monotonic() - began < 5
        send(child, "Go on", "3 messages, the last: Go on")
    assert said(server) == ["Tell me a tale", "Go on"]


def test_ctrl_c_before_the_server_answers_at_all_brings_the_prompt_back(tmp_path: Path) -> None:
    silent = Reply([b""], then="hang")
    with ReplayServer([chats(silent, answering)]) as server, chatting(tmp_path, server) as child:
        send(child, "One", "Reading the prompt")
        child.send("\x03")
        child.expect("stopped")
        send(child, "Two", "1 messages, the last: Two")
        child.send("\x04")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_ctrl_d_during_an_answer_leaves_after_it(tmp_path: Path) -> None:
    held = Held()
    with ReplayServer([chats(held)]) as server, chatting(tmp_path, server) as child:
        child.send("Hello\r")
        assert held.asked.wait(20)
        child.send("\x04")
        held.go_on.set()
        child.expect("1 messages, the last: Hello")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_no_ctrl_c_is_lost_between_an_answer_and_the_prompt(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        for turn in range(8):
            send(child, f"Hello {turn}", f"last: Hello {turn}")
            time.sleep(turn * 0.004)  # somewhere between the last chunk and the prompt
            child.send("\x03")
            child.expect("stopped|Ctrl-C again, or Ctrl-D, leaves")
        send(child, "Still there?", "last: Still there")


@pytest.mark.skipif(shutil.which("bash") is None, reason="job control of a shell")
@pytest.mark.skipif(not hasattr(signal, "SIGTSTP"), reason="job control of POSIX")
@pytest.mark.parametrize("when", ["at the prompt", "during an answer"])
def test_ctrl_z_suspends_and_the_conversation_goes_on(tmp_path: Path, when: str) -> None:
    env = clean_environment(tmp_path, TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", PS1="shell> ")
    pieces = streamed(*(f"word{i} " for i in range(40)), pause=0.1)
    with ReplayServer([chats(pieces)]) as server:
        shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "-i"],
            env=env,
            cwd=str(tmp_path),
            encoding="utf-8",
            dimensions=(24, 80),
            timeout=20,
        )
        try:
            shell.expect("shell> ")
            shell.send(shlex.join([*PROGRAM, "chat", "--url", server.url]) + "\r")
            shell.expect("More: /help")
            if when == "during an answer":
                shell.send("Hello\r")
                shell.expect("word2")
            shell.send("\x1a")
            shell.expect("Stopped")
            shell.expect("shell> ")
            shell.send("echo $((6*7))\r")
            shell.expect("42")
            shell.send("fg\r")
            if when == "at the prompt":
                shell.send("Hello\r")
            shell.expect("word39")
            time.sleep(0.5)
            shell.send("/quit\r")
            shell.expect("shell> ")
            shell.send("echo $((7*7)) $?\r")
            shell.expect("49 0")
        finally:
            shell.close(force=True)


STATUS_LINE = {"PROMPT_TOOLKIT_NO_CPR": "0"}
"""Environment in which there is one: it needs the terminal's word where the cursor is."""


def screen_of(child: pexpect.spawn[str], screen: pyte.Screen, until: str) -> str:
    """What the terminal shows once `until` is on the screen."""
    stream = pyte.Stream(screen)
    screen.write_process_input = child.send  # the program asks where the cursor is
    stream.feed(child.buffer)
    child.buffer = ""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        shown = "\n".join(line.rstrip() for line in screen.display)
        if re.search(until, shown):
            return shown
        try:
            stream.feed(child.read_nonblocking(65536, 0.1))
        except pexpect.TIMEOUT:
            continue
    raise AssertionError(f"{until!r} is not on the screen:\n{shown}")


def test_a_spinner_with_seconds_shows_that_the_prompt_is_read(tmp_path: Path) -> None:
    held = Held()
    screen = pyte.Screen(80, 24)
    with ReplayServer([chats(held)]) as server, chatting(tmp_path, server) as child:
        child.send("Hello\r")
        screen_of(child, screen, "Reading the prompt, 1 s")
        held.go_on.set()
        shown = screen_of(child, screen, "the last: Hello")
    assert "Reading the prompt" not in shown


@pytest.mark.parametrize("columns", [40, 80])
def test_notices_and_help_break_at_words(tmp_path: Path, columns: int) -> None:
    screen = pyte.Screen(columns, 70)
    with (
        ReplayServer([answering]) as server,
        chatting(tmp_path, server, columns=columns, rows=70) as child,
    ):
        greeting = child.before
        child.send("/help\r")
        shown = screen_of(child, screen, "(?s)with\\s+two")
    words = "instructions sampling conversation clipboard reasoning message"
    for word in words.split():
        assert re.search(rf"(^|[\s/]){word}\b", shown, re.M), f"{word}\n{shown}"
    assert max(len(line) for line in shown.split("\n")) < columns
    assert re.search(r"test at\s+http://127", greeting)
    assert all(word in greeting for word in ("Enter", "sends", "Alt-Enter", "breaks", "answer"))


def test_the_status_line_never_says_no_model_beside_a_loaded_one(tmp_path: Path) -> None:
    screen = pyte.Screen(80, 24)
    with ReplayServer([answering]) as server, chatting(tmp_path, server, **STATUS_LINE) as child:
        shown = screen_of(child, screen, "context 4,096")
    assert "no model" not in shown
    assert "test · context 4,096" in shown


def test_cached_tokens_are_in_the_status_line(tmp_path: Path) -> None:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    screen = pyte.Screen(80, 24)
    reply = streamed("fine", usage=usage)
    with (
        ReplayServer([chats(reply)]) as server,
        chatting(tmp_path, server, **STATUS_LINE) as child,
    ):
        child.send("Hello\r")
        shown = screen_of(child, screen, "8 cached")
        assert "15/4,096 tokens (0%)" in shown
        send(child, "/tokens", r"12 before the last answer \(8 of them cached\), 3 in it")


def test_tokens_are_told_after_an_answer_that_was_stopped(tmp_path: Path) -> None:
    replies = chats(unfinished("Once upon"))
    with ReplayServer([replies]) as server, chatting(tmp_path, server) as child:
        send(child, "Tell me a tale", "Once upon")
        child.send("\x03")
        child.expect("stopped")
        send(child, "/tokens", r"Up to \d+ tokens of 4,096")


def test_a_file_that_waits_is_not_sent_by_a_retry(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("three rivers")
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "Hello", "1 messages")
        send(child, "/file notes.txt", "goes out with your next message")
        send(child, "/retry", "1 messages, the last: Hello")
        send(child, "Which?", "3 messages")
    first, again, last = said(server)
    assert (first, again) == ("Hello", "Hello")
    assert "three rivers" in json.dumps(last)


def test_attachments_of_a_message_that_fails_go_out_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("three rivers")
    from support.replay import json_reply

    replies = chats(json_reply(400, {"detail": "not now"}), answering)
    with ReplayServer([replies]) as server, chatting(tmp_path, server) as child:
        send(child, "/file notes.txt", "goes out with your next message")
        send(child, "Which?", "not now")
        send(child, "Again?", "1 messages")
    assert all("three rivers" in json.dumps(content) for content in said(server))


def test_a_conversation_of_an_early_version_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / ".local" / "share" / "py-tabbyapi" / "sessions"
    folder.mkdir(parents=True)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Fine."},
    ]
    old = {"messages": messages, "params": {"temperature": 0.3}}
    (folder / "rivers.json").write_text(json.dumps(old))
    (folder / "broken.json").write_text("[]")
    with (
        ReplayServer([answering]) as server,
        chatting(tmp_path, server, "--session", "rivers") as child,
    ):
        send(child, "Two", "4 messages, the last: Two")
        send(child, "/load broken", "no saved conversation")
    body = bodies(server.requests)[0]
    assert [m["content"] for m in body["messages"]] == ["Be brief.", "One", "Fine.", "Two"]
    assert body["temperature"] == 0.3
