"""The slash commands of `tabbyapi chat`, typed at a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from support.replay import ReplayServer, Reply, Request, json_reply

from .scripted import DONE, HEAD, USAGE, answering, bodies, chatting, event, send

COMMANDS = (
    *("system", "image", "file", "params", "model", "retry", "edit", "undo", "clear", "save"),
    *("load", "tokens", "copy", "think", "quit"),
)
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"


def test_help_lists_every_command(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        child.send("/help\r")
        for name in (
            "system",
            "image",
            "file",
            "params",
            "model",
            "retry",
            "edit",
            "undo",
            "clear",
        ):
            child.expect(f"/{name}")
        for name in ("save", "load", "tokens", "copy", "think", "quit"):
            child.expect(f"/{name}")


def test_quit_leaves(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "/quit", pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_an_unknown_command_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "/sytem x", r"There is no /sytem; /system\?")
        send(child, "//slash", "1 messages, the last: /slash")


def test_instructions_and_parameters_go_with_the_next_turn(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "/system Be brief.", "System: Be brief.")
        send(child, "/params temperature=0.3 max_tokens=9", "temperature=0.3")
        send(child, "/params top_k=oops", "top_k")
        send(child, "Hello", "2 messages, the last: Hello")
        send(child, "/system -", r"System: \(none\)")
        send(child, "/params temperature=", "max_tokens=9")
        send(child, "Again", "3 messages, the last: Again")
    first, second = bodies(server.requests)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first["temperature"], first["max_tokens"]) == (0.3, 9)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert "temperature" not in second


def test_files_and_pictures_go_out_with_the_next_message(tmp_path: Path) -> None:
    (tmp_path / "dot.gif").write_bytes(GIF)
    (tmp_path / "notes.txt").write_text("three rivers\n")
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "/image missing.gif", "there is no file missing.gif")
        send(child, "/file", "Which file")
        send(child, "/image dot.gif", "goes out with your next message")
        send(child, "/file notes.txt", "goes out with your next message")
        send(child, "What is it?", "1 messages")
        send(child, "And now?", "3 messages, the last: And now")
    content = json.dumps(bodies(server.requests)[0]["messages"][0]["content"])
    assert "data:image/gif;base64," in content
    assert "three rivers" in content
    assert "What is it?" in content


def test_turns_are_taken_back_and_begun_anew(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server) as child:
        send(child, "/undo", "nothing to undo")
        send(child, "/retry", "nothing to try again")
        send(child, "/edit", "nothing to edit")
        send(child, "/tokens", "Not known before the first answer")
        send(child, "/copy", "no answer to copy")
        send(child, "One", "1 messages, the last: One")
        send(child, "/tokens", "15 tokens of 4,096")
        send(child, "/undo", "taken back")
        send(child, "Two", "1 messages, the last: Two")
        send(child, "/clear", "A new conversation")
        send(child, "Three", "1 messages, the last: Three")


def test_a_conversation_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        with chatting(tmp_path, server) as child:
            send(child, "/load", "There are none")
            send(child, "/save", "Nothing has been said")
            send(child, "One", "1 messages, the last: One")
            send(child, "/save ../escape", "no name for a conversation")
            send(child, "/save rivers", "--session 'rivers'")
            send(child, "/quit", pexpect.EOF)
        with chatting(tmp_path, server, "--session", "rivers") as child:
            send(child, "Two", "3 messages, the last: Two")
            send(child, "/quit", pexpect.EOF)
        with chatting(tmp_path, server, "--continue") as child:
            send(child, "Three", "5 messages, the last: Three")
            send(child, "/quit", pexpect.EOF)
        with chatting(tmp_path, server) as child:
            send(child, "/load", "Conversations: rivers")
            send(child, "/load rivers", "rivers|Three")
            send(child, "Four", "7 messages, the last: Four")


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_window_is_enough(tmp_path: Path, columns: int) -> None:
    with (
        ReplayServer([answering]) as server,
        chatting(tmp_path, server, columns=columns) as child,
    ):
        send(child, "Hello", "1 messages")
        send(child, "/quit", pexpect.EOF)
        assert "Traceback" not in child.before


def test_no_color_means_no_colours(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server, chatting(tmp_path, server, NO_COLOR="1") as child:
        send(child, "Hello", "1 messages, the last: Hello")
        seen = child.before
        send(child, "/quit", pexpect.EOF)
        seen += child.before
    assert not any(f"\x1b[{code}" in seen for code in ("1m", "2m", "3", "38", "9"))


def saying(*deltas: dict[str, Any], finish: str = "stop") -> Callable[[Request], Reply]:
    """Answers each turn with these pieces."""

    def reply(request: Request) -> Reply:
        if request.target != "/v1/chat/completions":
            return answering(request)
        end = event({}, finish, usage=USAGE) + DONE
        return Reply([HEAD, *(event(delta) for delta in deltas), end])

    return reply


THINKING = saying({"reasoning_content": "Hard to say."}, {"content": "Done."})


def test_reasoning_is_folded_until_it_is_asked_for(tmp_path: Path) -> None:
    with ReplayServer([THINKING]) as server, chatting(tmp_path, server) as child:
        send(child, "Hi", r"Thought for \d+ s \(/think shows it\)")
        child.expect("Done.")
        send(child, "/think", "Hard to say.")
        send(child, "/think show", "Reasoning will be shown")
        send(child, "Again", "Hard to say.")
        child.expect("Done.")
        assert "Thought for" not in child.before


def test_reasoning_is_told_apart_without_colours_too(tmp_path: Path) -> None:
    with ReplayServer([THINKING]) as server, chatting(tmp_path, server, NO_COLOR="1") as child:
        send(child, "Hi", r"\(thinking; /think shows it\)")
        send(child, "/think show", "Reasoning will be shown")
        send(child, "Again", r"\(thinking\)\s+Hard to say.\s+\(answer\)\s+Done.")


def test_calls_of_tools_are_shown(tmp_path: Path) -> None:
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    reply = saying({"tool_calls": [call]}, finish="tool_calls")
    with ReplayServer([reply]) as server, chatting(tmp_path, server) as child:
        send(child, "Hi", r"calls weather\({\"city\": \"Paris\"}\)")


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (json_reply(401, {"detail": "Invalid API key"}), "--api-key KEY"),
        (json_reply(404, {"x": 1}), r"Does --url point at the root of a TabbyAPI server\?\r"),
    ],
    ids=["wrong key", "a server of another kind"],
)
def test_a_turn_that_fails_says_what_to_do_and_the_next_can_be_typed(
    tmp_path: Path, reply: Reply, advice: str
) -> None:
    with ReplayServer([reply]) as server, chatting(tmp_path, server) as child:
        send(child, "Hi", advice)
        send(child, "/quit", pexpect.EOF)
        assert "Traceback" not in child.before
