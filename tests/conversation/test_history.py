"""The history: what is in it, how it is changed, copied, saved and shown."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.simulated import SYSTEM, SimulatedServer, conversation, say
from tabbyapi import (
    FunctionCall,
    ServerError,
    Timeout,
    ToolCall,
    ValidationError,
    assistant,
    tool,
    user,
)
from tabbyapi.conversation import AsyncConversation, Conversation


def texts(talk: Conversation) -> list[str]:
    return [message.text for message in talk.messages]


def calling(*names: str) -> Any:
    def reply(request: dict[str, Any]) -> dict[str, Any]:
        if request["messages"][-1]["role"] == "tool":
            return {"role": "assistant", "content": "Done."}
        calls = [{"id": n, "function": {"name": n, "arguments": "{}"}} for n in names]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    return reply


def test_what_was_said_is_sent_again() -> None:
    server = SimulatedServer()
    talk = conversation(server, temperature=0.5)
    assert talk.send("One?").text == "Yes."
    talk.send(user("Two?"), temperature=0)
    assert texts(talk) == [SYSTEM, "One?", "Yes.", "Two?", "Yes."]
    assert [m["content"] for m in server.chats[1]["messages"]] == [SYSTEM, "One?", "Yes.", "Two?"]
    assert [chat["temperature"] for chat in server.chats] == [0.5, 0]


def test_a_request_that_fails_changes_nothing() -> None:
    def check(request: dict[str, Any], tokens: int) -> None:
        if "fail" in request["messages"][-1]["content"]:
            raise ServerError("broken", status_code=500)

    talk = conversation(SimulatedServer(check=check))
    talk.send("Hello.")
    with pytest.raises(ServerError):
        talk.send("Now fail.")
    with pytest.raises(ValidationError):
        talk.send("Hello.", temperature=99)
    with pytest.raises(ValidationError, match="content"):
        talk.send(5)  # type: ignore[arg-type]
    assert texts(talk) == [SYSTEM, "Hello.", "Yes."]
    talk.send("Go on.")
    assert texts(talk) == [SYSTEM, "Hello.", "Yes.", "Go on.", "Yes."]


def test_regenerate_answers_the_same_message_again() -> None:
    server = SimulatedServer()
    talk = conversation(server)
    talk.send("Hello.")
    server.reply = say("Good day.")
    assert talk.regenerate(temperature=1.5).text == "Good day."
    assert texts(talk) == [SYSTEM, "Hello.", "Good day."]
    assert server.chats[1]["messages"] == server.chats[0]["messages"]


def test_regenerate_after_tools_keeps_their_results() -> None:
    server = SimulatedServer(reply=calling("find"))
    talk = conversation(server)
    talk.send("Find it.")
    talk.send(tool("Found.", tool_call_id="find"))
    talk.regenerate()
    assert [message.role for message in talk.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_regenerate_needs_something_to_answer() -> None:
    with pytest.raises(ValidationError, match="send a message first"):
        conversation(SimulatedServer()).regenerate()


def test_edit_replaces_a_message_and_drops_what_followed() -> None:
    talk = conversation(SimulatedServer())
    talk.send("One?")
    talk.send("Two?")
    talk.edit(1, "Three?")
    assert texts(talk) == [SYSTEM, "Three?"]
    talk.regenerate()
    talk.edit(-1, "No.")
    assert texts(talk) == [SYSTEM, "Three?", "No."]
    assert talk.messages[-1].role == "assistant"
    with pytest.raises(IndexError, match="3"):
        talk.edit(3, "x")


def test_undo_takes_the_last_turn_back() -> None:
    talk = conversation(SimulatedServer())
    assert talk.undo() is None
    talk.send("One?")
    talk.send(["Two", "parts?"])
    assert [part.text for part in talk.undo()] == ["Two", "parts?"]  # type: ignore[union-attr]
    assert texts(talk) == [SYSTEM, "One?", "Yes."]
    assert talk.undo() == "One?"
    assert (texts(talk), talk.undo()) == ([SYSTEM], None)
    talk.send("Anew?")
    assert texts(talk) == [SYSTEM, "Anew?", "Yes."]


def test_undo_takes_back_the_calls_of_a_turn_with_it() -> None:
    talk = conversation(SimulatedServer(reply=calling("look")))
    talk.send("One?", tools=[])
    talk.send(tool("seen", tool_call_id="look"))
    assert talk.undo() == "One?"
    assert texts(talk) == [SYSTEM]


def test_parameters_of_every_request_can_be_changed() -> None:
    server = SimulatedServer()
    talk = conversation(server, temperature=0.5)
    other = talk.fork()
    talk.params = {**talk.params, "max_tokens": 9}
    talk.send("One?")
    other.send("Two?")
    assert (server.chats[0]["temperature"], server.chats[0]["max_tokens"]) == (0.5, 9)
    assert "max_tokens" not in server.chats[1]


def test_the_system_message_can_be_changed_without_dropping_anything() -> None:
    server = SimulatedServer()
    talk = conversation(server)
    talk.send("Hello.")
    talk.edit(0, "Be terse.")
    assert texts(talk) == ["Be terse.", "Hello.", "Yes."]
    talk.system = "Be kind."
    talk.send("Hello again.")
    assert server.chats[-1]["messages"][0]["content"] == "Be kind."
    talk.system = None
    assert texts(talk)[0] == "Hello."


def test_a_fork_goes_its_own_way() -> None:
    server = SimulatedServer()
    talk = conversation(server)
    talk.send("Hello.")
    other = talk.fork()
    other.send("To you.")
    talk.send("To me.")
    assert texts(talk)[-2:] == ["To me.", "Yes."]
    assert texts(other)[-2:] == ["To you.", "Yes."]
    assert other.tokens.exact


def test_calls_left_without_results_get_one_when_the_user_goes_on() -> None:
    server = SimulatedServer(reply=calling("find", "count"))
    talk = conversation(server)
    asked = talk.send("Find it.")
    assert [call.id for call in asked.tool_calls] == ["find", "count"]
    server.reply = say("Well then.")
    talk.send("Never mind.")
    assert [(m.role, m.tool_call_id) for m in talk.messages[3:5]] == [
        ("tool", "find"),
        ("tool", "count"),
    ]
    assert texts(talk)[-2:] == ["Never mind.", "Well then."]


def test_functions_are_called_and_the_turn_is_added_whole() -> None:
    seen: list[str] = []

    def find() -> str:
        """Finds it."""
        seen.append("find")
        return "It is here."

    def count() -> int:
        """Counts them."""
        seen.append("count")
        return 3

    server = SimulatedServer(reply=calling("find", "count"))
    talk = conversation(server, tools=[find, count])
    assert talk.send("Find and count.").text == "Done."
    assert sorted(seen) == ["count", "find"]
    assert [message.role for message in talk.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert len(server.chats) == 2
    talk.send("Thanks.", tools=None)
    assert "tools" not in server.chats[-1]


def test_a_tool_loop_that_fails_adds_nothing() -> None:
    def find() -> str:
        """Finds it."""
        raise RuntimeError("no light")

    server = SimulatedServer(reply=calling("find"))
    talk = conversation(server)
    with pytest.raises(RuntimeError, match="no light"):
        talk.send("Find it.", tools=[find], raise_errors=True)
    assert texts(talk) == [SYSTEM]
    talk.send("Hello.")


def test_messages_can_be_added_without_asking() -> None:
    server = SimulatedServer()
    talk = conversation(server)
    talk.append(user("What is 2 + 2?"), assistant("4"), {"role": "user", "content": "And 3 + 3?"})
    assert server.calls == []
    assert talk.regenerate().text == "Yes."
    assert len(talk) == 5
    with pytest.raises(ValidationError, match=r"messages\[1\]"):
        talk.append(user("x"), {"role": "", "content": "y"})
    assert len(talk) == 5


def test_a_request_during_another_is_refused() -> None:
    caught: list[ValidationError] = []

    def check(request: dict[str, Any], tokens: int) -> None:
        with pytest.raises(ValidationError, match="waiting for an answer") as error:
            talk.send("And me?")
        caught.append(error.value)
        talk.fork().append(user("A fork is free."))

    talk = conversation(SimulatedServer(check=check))
    talk.send("Hello.")
    assert len(caught) == 1
    assert texts(talk) == [SYSTEM, "Hello.", "Yes."]


# ------------------------------------------------------------------------------- files


def test_a_saved_conversation_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    server = SimulatedServer(reply=calling("find"))
    talk = conversation(server, temperature=0.25, on_overflow="summarize", timeout=5)
    talk.send("Find it, 水. \u2028")
    talk.send(tool("Found.", tool_call_id="find"))
    talk.save(path)

    later = SimulatedServer()
    loaded = Conversation.load(path, later)
    assert loaded.messages == talk.messages
    assert loaded.tokens == talk.tokens
    loaded.send("And now?")
    assert later.paths == ["/v1/chat/completions"]
    assert later.chats[0]["temperature"] == 0.25
    assert [m["role"] for m in later.chats[0]["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user")
    ]


def test_the_window_and_the_summary_survive_saving(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    server = SimulatedServer(1024)
    talk = conversation(server, on_overflow="summarize", max_tokens=64)
    for _ in range(20):
        talk.send("What about this element? " * 5)
    talk.save(path)
    loaded = Conversation.load(path, server)
    assert loaded.window == talk.window
    assert loaded.summary == talk.summary == "Yes."


def test_loading_may_change_settings(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"

    def find() -> str:
        """Finds it."""
        return "Here."

    server = SimulatedServer(reply=calling("find"))
    conversation(server, tools=[find], temperature=1).save(path)
    assert "tools" not in json.loads(path.read_text())["params"]
    loaded = Conversation.load(path, server, tools=[find], temperature=0)
    assert loaded.send("Find it.").text == "Done."
    assert server.chats[0]["temperature"] == 0


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.json"
    talk = conversation(SimulatedServer())
    talk.save(path)
    before = path.read_bytes()
    talk.send("Hello.")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        talk.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["talk.json"]


def test_what_a_file_cannot_hold_is_left_out_and_asked_for_on_loading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def find(name: str) -> str:
        """Find something."""
        return name

    path = tmp_path / "talk.json"
    plain = {
        "type": "function",
        "function": {"name": "plain", "description": "x", "parameters": {"type": "object"}},
    }
    talk = conversation(
        SimulatedServer(),
        tools=[find, plain],
        on_call=print,
        on_result=print,
        json_schema=int,
        timeout=Timeout(total=3),
        extra_body={"odd": object()},
        temperature=0.5,
    )
    talk.append(user("Hello."))
    talk.save(path)

    loaded = Conversation.load(path, SimulatedServer(), on_call=print)
    left_out = ["extra_body", "json_schema", "on_result", "timeout", "tools (find)"]
    assert loaded.left_out == left_out
    assert ", ".join(left_out) in caplog.text
    assert texts(loaded) == texts(talk)
    # Saving it again does not forget what is still missing.
    loaded.save(path)
    caplog.clear()
    given = {"extra_body": {}, "json_schema": int, "on_result": print, "on_call": print}
    whole = Conversation.load(path, SimulatedServer(), tools=[find], timeout=3, **given)
    assert whole.left_out == []
    assert not caplog.records


@pytest.mark.parametrize("kind", [Conversation, AsyncConversation])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way_as_a_fork_does(
    kind: type[Conversation], duplicate: Callable[[Any], Any]
) -> None:
    talk = kind.begin(SimulatedServer(), "Be brief.", {"temperature": 0.5})
    talk.append(user("Hello."))
    other = duplicate(talk)
    other.append(user("Are you there?"))
    assert texts(talk) == ["Be brief.", "Hello."]
    assert texts(other) == ["Be brief.", "Hello.", "Are you there?"]
    nested = copy.deepcopy({"talk": talk})["talk"]
    assert nested.messages == talk.messages


def test_pickling_names_what_to_use_instead() -> None:
    with pytest.raises(TypeError, match="save"):
        pickle.dumps(conversation(SimulatedServer()))


@pytest.mark.parametrize(
    ("act", "field"),
    [
        (lambda talk, odd: talk.send(odd), "content"),
        (lambda talk, odd: talk.send([odd]), "content"),
        (lambda talk, odd: talk.stream(odd), "content"),
        (lambda talk, odd: talk.append(user(odd)), "messages[0]"),
        (lambda talk, odd: talk.edit(0, odd), "content"),
        (lambda talk, odd: setattr(talk, "system", odd), "system"),
        (lambda talk, odd: conversation(SimulatedServer(), system=odd), "system"),
    ],
)
def test_half_a_character_is_refused_with_the_fields_name(
    act: Callable[[Conversation, str], None], field: str
) -> None:
    talk = conversation(SimulatedServer())
    talk.append(user("Hello."))
    before = texts(talk)
    with pytest.raises(ValidationError, match="half of a character") as error:
        act(talk, "a\udc80b")
    assert error.value.field == field
    assert texts(talk) == before
    assert talk.send("Still there?").text == "Yes."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no saved conversation"),
        ('{"messages": []}', "no saved conversation"),
        ('{"format": "tabbyapi.conversation", "version": 99}', "version 99"),
        ('{"format": "tabbyapi.conversation", "version": 1}', "damaged"),
        (
            '{"format": "tabbyapi.conversation", "version": 1, "summary_prompt": "s",'
            '"messages": [{"role": ""}]}',
            r"damaged.*messages\[0\].role",
        ),
        (
            '{"format": "tabbyapi.conversation", "version": 1, "summary_prompt": "s",'
            '"messages": [{"role": "user", "content": 7}]}',
            "damaged",
        ),
    ],
)
def test_a_file_that_is_no_conversation_is_refused_with_the_reason(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "talk.json"
    path.write_text(content)
    with pytest.raises(ValidationError, match=said):
        Conversation.load(path, SimulatedServer())


def test_a_missing_file_is_the_operating_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Conversation.load(tmp_path / "none.json", SimulatedServer())


# ------------------------------------------------------------------------------- shown


def test_markdown_shows_who_said_what() -> None:
    call = ToolCall("1", FunctionCall("find", '{"what": "it"}'))
    talk = conversation(
        SimulatedServer(),
        messages=[
            user(
                ["What is *this*?", {"type": "image_url", "image_url": {"url": "http://x/i.png"}}]
            ),
            assistant("I look.", tool_calls=[call], reasoning_content="Hm.\n\nAh."),
            tool("```\nfenced\n```", tool_call_id="1"),
        ],
    )
    expected = f"""### System

{SYSTEM}

### User

What is *this*?

![image](<http://x/i.png>)

### Assistant

I look.

`find`

```json
{{"what": "it"}}
```

### Tool result

````
```
fenced
```
````
"""
    assert talk.to_markdown() == expected
    assert talk._repr_markdown_() == expected
    assert "> Hm.\n>\n> Ah.\n" in talk.to_markdown(reasoning=True)


def test_its_repr_is_short_and_holds_no_text() -> None:
    talk = conversation(SimulatedServer())
    talk.send("Hello, secret.")
    assert repr(talk).startswith("<Conversation: 3 messages, ")
    assert "secret" not in repr(talk)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"on_overflow": "explode"}, "on_overflow"),
        ({"messages": "Hello."}, "messages"),
        ({"context_size": 0}, "context_size"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options: Any, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        conversation(SimulatedServer(), **options)
    assert caught.value.field == field
