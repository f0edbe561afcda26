"""What happens to turns that are replaced by a summary."""

from __future__ import annotations

from typing import Any

import pytest

from support.simulated import SYSTEM, SimulatedServer, conversation
from tabbyapi import ServerError


def asks_for_summary(request: dict[str, Any]) -> bool:
    return bool(request["messages"][-1]["content"].startswith("Summarize"))


def answering(summary: str) -> Any:
    def reply(request: dict[str, Any]) -> dict[str, Any]:
        text = summary if asks_for_summary(request) else "It is a metal."
        return {"role": "assistant", "content": text}

    return reply


def test_the_older_turns_are_replaced_by_the_models_summary() -> None:
    server = SimulatedServer(1024, answering("We spoke of metals."))
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    for i in range(20):
        talk.send(f"What about element {i}? " * 10)
    assert talk.summary == "We spoke of metals."
    head = server.chats[-1]["messages"][0]
    assert head["role"] == "system"
    assert head["content"].startswith(SYSTEM)
    assert head["content"].endswith("Summary of the earlier conversation:\nWe spoke of metals.")
    assert talk.window[0].text == head["content"]
    assert talk.messages[0].text == SYSTEM
    assert len(talk.messages) == 41


def test_a_summary_makes_room_for_many_turns() -> None:
    server = SimulatedServer(2048, answering("We spoke of metals."))
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    for i in range(100):
        talk.send(f"What about element {i}? " * 5)
    summaries = sum(map(asks_for_summary, server.chats))
    assert 2 <= summaries <= 10
    assert len(server.chats) == 100 + summaries


def test_a_new_summary_is_made_of_the_old_one_too() -> None:
    server = SimulatedServer(1024, answering("We spoke of metals."))
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    while sum(map(asks_for_summary, server.chats)) < 2:
        talk.send("What about this element? " * 5)
    second = [chat for chat in server.chats if asks_for_summary(chat)][1]
    assert "We spoke of metals." in second["messages"][0]["content"]


def test_without_a_system_message_the_summary_is_one() -> None:
    server = SimulatedServer(1024, answering("We spoke of metals."))
    talk = conversation(server, system=None, on_overflow="summarize", max_tokens=64)
    for _ in range(20):
        talk.send("What about this element? " * 5)
    assert server.chats[-1]["messages"][0]["role"] == "system"
    assert talk.system is None
    assert talk.messages[0].role == "user"


def test_the_caller_may_say_how_to_summarize() -> None:
    server = SimulatedServer(1024)
    talk = conversation(
        server, on_overflow="summarize", max_tokens=64, summary_prompt="Boil it down."
    )
    for _ in range(20):
        talk.send("What about this element? " * 5)
    assert "Boil it down." in [chat["messages"][-1]["content"] for chat in server.chats]
    assert talk.summary == "Yes."


def test_a_failing_summary_leaves_everything_as_it_was() -> None:
    def check(request: dict[str, Any], tokens: int) -> None:
        if asks_for_summary(request):
            raise ServerError("the engine is gone", status_code=503)

    server = SimulatedServer(1024, check=check)
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    before = talk.messages
    with pytest.raises(ServerError):
        for _ in range(50):
            before = talk.messages
            talk.send("What about this element? " * 5)
    assert talk.messages == before
    assert len(talk.window) == len(talk.messages)


def test_an_empty_summary_is_said_in_the_log_and_turns_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = SimulatedServer(1024, answering(" \n"))
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    for _ in range(20):
        talk.send("What about this element? " * 5)
    assert talk.summary == ""
    assert len(talk.window) < len(talk.messages)
    assert "wrote no summary" in caplog.text


def test_editing_what_was_summarized_forgets_the_summary() -> None:
    server = SimulatedServer(1024, answering("We spoke of metals."))
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    for _ in range(20):
        talk.send("What about this element? " * 5)
    talk.edit(1, "What about glass?")
    assert talk.summary == ""
    assert [message.text for message in talk.window] == [SYSTEM, "What about glass?"]
