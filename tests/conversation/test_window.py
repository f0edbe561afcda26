"""Whatever is said, what is sent fits, keeps the system message, and keeps turns whole."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.simulated import SYSTEM, SimulatedServer, conversation, say
from tabbyapi import ContextLengthError, system, tool, user
from tabbyapi.conversation.fitting import prompt_budget


def assert_whole(messages: list[dict[str, Any]]) -> None:
    """Every result follows its call, and every call has its result."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, "a call has lost its result"
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
    assert not waiting


# Text from one letter to more than fits, in scripts that tokenizers treat differently.
texts = st.builds(
    lambda letters, count: (letters * count)[: 3 * count],
    st.sampled_from(["carbon and oxygen ", "水と炭素と酸素", "e", "😀 and "]),
    st.one_of(st.integers(1, 40), st.integers(40, 1200)),
)


class Step:
    """What happens in a turn."""

    def __init__(self, kind: str, text: str, reply: str, calls: int, max_tokens: int | None):
        self.kind, self.text, self.reply = kind, text, reply
        self.calls, self.max_tokens = calls, max_tokens

    def __repr__(self) -> str:
        return f"{self.kind}({len(self.text)}, {len(self.reply)}, {self.calls}, {self.max_tokens})"


steps = st.builds(
    Step,
    st.sampled_from(["say", "say", "say", "use tools", "again", "edit", "leave calls open"]),
    texts,
    texts.map(lambda text: text[:600]),
    st.integers(1, 3),
    st.sampled_from([None, 16, 200, 100_000]),
)


@settings(max_examples=100)
@given(
    st.lists(steps, max_size=25),
    st.sampled_from([256, 600, 2048]),
    st.sampled_from(["truncate", "summarize", "raise"]),
    st.booleans(),
)
def test_every_prompt_fits_and_keeps_the_system_message_and_whole_turns(
    script: list[Step], context: int, policy: str, reasons: bool
) -> None:
    expected: dict[str, Any] = {}

    def check(request: dict[str, Any], prompt: int) -> None:
        messages = request["messages"]
        assert messages[0]["role"] == "system"
        assert messages[0]["content"].startswith(SYSTEM)
        assert "system" not in [message["role"] for message in messages[1:]]
        assert_whole(messages)
        if messages[-1]["content"].startswith("Summarize"):
            assert prompt + request["max_tokens"] <= context
            return
        assert messages[-1]["content"] == expected["last"]
        if known:  # before the first overflow nobody needs to know
            assert prompt <= prompt_budget(context, {"max_tokens": request.get("max_tokens")})

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": expected["reply"]}
        if request["messages"][-1]["content"].startswith("Summarize"):
            message["content"] = "What was said. " * 3
        elif expected["calls"]:
            message["tool_calls"] = [
                {"id": f"call_{i}", "function": {"name": "find", "arguments": '{"it": 1}'}}
                for i in range(expected["calls"])
            ]
        if reasons:
            message["reasoning_content"] = "Let me see. " * 10
        return message

    server = SimulatedServer(context, reply, check)
    talk = conversation(server, on_overflow=policy)
    known = False
    for step in script:
        known = talk.tokens.context is not None
        before = talk.messages
        expected.update(reply=step.reply, calls=0)
        limit = {} if step.max_tokens is None else {"max_tokens": step.max_tokens}
        try:
            if step.kind == "again":
                if len(before) < 3:
                    continue
                answered = before[-1].role == "assistant"
                expected["last"] = before[-2 if answered else -1].content
                talk.regenerate(**limit)
                continue
            if step.kind == "edit":
                places = [i for i, m in enumerate(before) if m.role == "user"]
                if not places:
                    continue
                expected["last"] = step.text
                talk.edit(places[len(step.reply) % len(places)], step.text)
                before = talk.messages
                talk.regenerate(**limit)
                continue
            expected.update(last=step.text, calls=step.calls if step.kind != "say" else 0)
            asked = talk.send(step.text, **limit)
            if step.kind == "use tools":
                before = talk.messages
                expected.update(last=step.reply, calls=0)
                talk.send(
                    [tool(step.reply, tool_call_id=call.id) for call in asked.tool_calls], **limit
                )
        except ContextLengthError:
            assert talk.messages == before, "a turn that failed has left something behind"
    assert talk.messages[0].text == SYSTEM


def test_an_ordinary_turn_makes_one_request_and_counts_exactly() -> None:
    server = SimulatedServer()
    talk = conversation(server)
    for i in range(5):
        talk.send(f"And what is element number {i}?")
    assert server.paths == ["/v1/chat/completions"] * 5
    used = talk.tokens
    assert used.exact
    assert used.context is None
    # What the next prompt takes without a new message, by the server's own count.
    real = server.prompt_tokens({"messages": server.chats[-1]["messages"]}) + 1
    assert real <= used.used <= real + 20


def test_the_context_is_asked_for_once_and_only_when_it_may_matter() -> None:
    server = SimulatedServer(context=4096)
    talk = conversation(server)
    talk.send("Short.")
    assert "/v1/model" not in server.paths
    for _ in range(4):
        talk.send("long " * 150)
    assert server.paths.count("/v1/model") == 1
    assert talk.tokens.context == 4096
    assert talk.tokens.free == 4096 - talk.tokens.used


def test_a_full_conversation_still_makes_one_request_a_turn() -> None:
    server = SimulatedServer(context=2048, reply=say("It is a metal. " * 8))
    talk = conversation(server, max_tokens=100)
    for i in range(200):
        made = len(server.calls)
        talk.send(f"What about element {i}? " * 3)
        extra = [path for path in server.paths[made:] if path != "/v1/chat/completions"]
        assert extra in ([], ["/v1/model"])
        assert len(server.paths) - made - len(extra) == 1
    assert server.paths.count("/v1/model") == 1
    assert len(talk.messages) == 401
    assert len(talk.window) < 80


def test_truncation_leaves_room_for_the_turns_to_come() -> None:
    """The prompt's beginning stays the same for many turns, so that the prompt cache holds."""
    server = SimulatedServer(context=2048, reply=say("It is a metal. " * 8))
    talk = conversation(server, max_tokens=100)
    beginnings = []
    for i in range(100):
        talk.send(f"What about element {i}? " * 3)
        beginnings.append(server.chats[-1]["messages"][1]["content"])
    changes = sum(a != b for a, b in itertools.pairwise(beginnings))
    assert 3 <= changes <= 20


def test_a_message_that_cannot_fit_is_refused_before_it_is_sent() -> None:
    server = SimulatedServer(context=1024)
    talk = conversation(server)
    talk.send("Hello.")
    with pytest.raises(ContextLengthError, match=r"takes up to 2,\d\d\d tokens.*1,024") as caught:
        talk.send("long text " * 900)
    assert caught.value.status_code is None
    assert server.paths.count("/v1/chat/completions") == 1
    assert len(talk.messages) == 3


def test_a_message_that_fits_only_by_its_real_count_is_counted_and_sent() -> None:
    server = SimulatedServer(context=2048)
    talk = conversation(server)
    talk.send("word " * 1000)  # 5,000 bytes, 1,250 tokens
    assert server.paths == ["/v1/model", "/v1/token/encode", "/v1/chat/completions"]


def test_without_a_tokenizer_the_usage_seen_so_far_is_the_measure() -> None:
    server = SimulatedServer(context=2048, counts_tokens=False)
    talk = conversation(server)
    talk.send("word " * 60)
    talk.send("word " * 60)
    talk.send("word " * 600)  # 3,000 bytes, 750 tokens
    assert server.paths.count("/v1/chat/completions") == 3
    assert len(talk.window) == len(talk.messages)


def test_raise_refuses_and_drops_nothing() -> None:
    server = SimulatedServer(context=1024)
    talk = conversation(server, on_overflow="raise", max_tokens=100)
    with pytest.raises(ContextLengthError, match=r"conversation takes up to"):
        for _ in range(50):
            talk.send("word " * 100)
    assert len(talk.window) == len(talk.messages) > 5


def test_the_servers_refusal_is_handled_once() -> None:
    """The context is smaller than the server said: the model was loaded anew meanwhile."""
    server = SimulatedServer(context=2048)
    talk = conversation(server, max_tokens=100)
    for _ in range(18):
        talk.send("word " * 60)
    server.context = 700
    made = len(server.calls)
    talk.send("word " * 60)
    assert server.paths[made:] == ["/v1/chat/completions", "/v1/model", "/v1/chat/completions"]
    assert talk.tokens.context == 700
    assert len(talk.window) < len(talk.messages)


def test_a_second_refusal_is_raised_and_leaves_the_history_alone() -> None:
    server = SimulatedServer(context=2048)
    talk = conversation(server, max_tokens=100)
    for _ in range(3):
        talk.send("word " * 60)
    before = talk.messages

    def refuse(request: dict[str, Any], tokens: int) -> None:
        raise ContextLengthError("Job requires 40 pages (only 1 available)", status_code=400)

    server.check = refuse
    made = len(server.chats)
    with pytest.raises(ContextLengthError, match="pages"):
        talk.send("One more.")
    assert len(server.chats) == made + 2
    assert talk.messages == before


def test_another_model_has_another_context() -> None:
    server = SimulatedServer(context=4096)
    talk = conversation(server, max_tokens=100)
    for _ in range(18):
        talk.send("word " * 60)
    assert talk.tokens.context == 4096
    server.model, server.context = "another", 8192
    talk.send("word " * 60)  # the answer tells of the change
    talk.send("word " * 60)
    assert talk.tokens.context == 8192


def test_several_system_messages_all_stay() -> None:
    server = SimulatedServer(context=1024)
    given = [system("Be kind."), user("Hello."), system("Now be brief.")]
    talk = conversation(server, messages=given, max_tokens=50)
    for _ in range(20):
        talk.send("word " * 50)
    sent = server.chats[-1]["messages"]
    assert [message["content"] for message in sent[:2]] == [SYSTEM, "Be kind."]


def test_a_prompt_with_tools_makes_room_for_their_descriptions() -> None:
    described = {
        "type": "function",
        "function": {"name": "find", "description": "Finds. " * 150, "parameters": {}},
    }
    server = SimulatedServer(context=1024)
    talk = conversation(server, tools=[described], max_tokens=64)
    for _ in range(20):
        talk.send("word " * 40)
    assert max(server.prompt_tokens(chat) for chat in server.chats) <= 1024 - 64 - 16
