"""Meaning, end to end: our client, the local server, the engine and the demo model.

Everything is at temperature 0, so an answer is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("xllamacpp")

import tabbyapi
from tabbyapi import LocalServer, system, user

EXACT: dict[str, Any] = {"temperature": 0, "max_tokens": 80}


@pytest.fixture(scope="module")
def client() -> Iterator[tabbyapi.Client]:
    with LocalServer() as server, server.client() as client:
        yield client


def test_a_conversation_remembers_what_was_said_before(client: tabbyapi.Client) -> None:
    talk = client.conversation(**EXACT)
    talk.send("My name is Clara.")
    talk.send("I live in Lisbon.")
    talk.send("What is temperature?")
    talk.send("What is a token?")
    assert "Lisbon" in talk.send("Where do I live?").text
    assert "Clara" in talk.send("What is my name?").text


def test_what_was_edited_away_is_not_remembered(client: tabbyapi.Client) -> None:
    talk = client.conversation(**EXACT)
    talk.send("My name is Clara.")
    other = talk.fork()
    other.edit(0, "My name is Bruno.")
    other.regenerate()
    assert "Bruno" in other.send("What is my name?").text
    assert "Clara" in talk.send("What is my name?").text
    assert "Clara" not in client.chat.create([user("What is my name?")], **EXACT).text


def test_a_saved_conversation_still_knows(client: tabbyapi.Client, tmp_path: Any) -> None:
    talk = client.conversation(**EXACT)
    talk.send("My name is Clara.")
    talk.save(tmp_path / "talk.json")
    again = client.load_conversation(tmp_path / "talk.json")
    assert "Clara" in again.send("What is my name?").text


def test_a_follow_up_depends_on_the_turn_before(client: tabbyapi.Client) -> None:
    talk = client.conversation(
        "You are a helpful assistant specialized in programming and technology.", **EXACT
    )
    first = talk.send("What is the difference between REST and GraphQL?").text
    assert "REST" in first
    assert "GraphQL" in first
    assert "mobile" in talk.send("Which one is better for mobile applications and why?").text


def test_streams_say_the_same_as_whole_answers(client: tabbyapi.Client) -> None:
    for question in ("What is dependency injection good for?", "Who are you?", "What is top_p?"):
        whole = client.chat.create([user(question)], **EXACT)
        with client.chat.create_stream([user(question)], **EXACT) as stream:
            pieces = list(stream.text_deltas())
        assert "".join(pieces) == whole.text
        assert whole.finish_reason == stream.response.finish_reason == "stop"


def test_the_system_message_rules(client: tabbyapi.Client) -> None:
    def ask(rule: str, question: str) -> str:
        return client.chat.create([system(rule), user(question)], **EXACT).text

    assert len(ask("Answer in one word.", "What is temperature?").split()) == 1
    loud = ask("Answer in capitals.", "What is temperature?")
    assert loud == loud.upper() != loud.lower()


def test_a_stop_string_ends_the_answer_before_it(client: tabbyapi.Client) -> None:
    question = [user("What is TabbyAPI?")]
    whole = client.chat.create(question, **EXACT).text
    stop = whole.split()[3]
    reply = client.chat.create(question, stop=[stop], **EXACT)
    assert reply.text == whole[: whole.index(stop)]
    assert reply.choices[0].stop_str == stop


@dataclass
class Person:
    """Someone in a sentence."""

    name: str
    age: int
    city: str


def test_a_schema_and_a_sentence_give_a_typed_value(client: tabbyapi.Client) -> None:
    sentence = "Extract the data as JSON: Anna is 31 years old and lives in Oslo."
    free = client.chat.create([user(sentence)], **EXACT).text
    assert json.loads(free) == {"name": "Anna", "age": 31, "city": "Oslo"}
    parsed = client.chat.parse([user(sentence)], Person, **EXACT)
    assert parsed.value == Person("Anna", 31, "Oslo")


def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
        city: the city
    """
    asked.append(city)
    return json.dumps({"temperature": 21, "condition": "sunny"})


asked: list[str] = []


def test_a_tool_is_called_with_the_city_and_its_result_is_used(client: tabbyapi.Client) -> None:
    asked.clear()
    ran = client.chat.run([user("What is the weather in Paris?")], tools=[get_weather], **EXACT)
    assert asked == ["Paris"]
    assert "21" in ran.response.text
    assert ran.response.finish_reason == "stop"


def test_a_conversation_calls_tools_and_goes_on(client: tabbyapi.Client) -> None:
    asked.clear()
    talk = client.conversation(tools=[get_weather], **EXACT)
    reply = talk.send("What is the weather in Madrid?")
    assert asked == ["Madrid"]
    assert "21" in reply.text
    assert [m.role for m in talk.messages] == ["user", "assistant", "tool", "assistant"]


def test_it_says_what_it_is_and_what_it_does_not_know(client: tabbyapi.Client) -> None:
    assert "demo model" in client.chat.create([user("Who are you?")], **EXACT).text
    unknown = client.chat.create([user("What is the capital of France?")], **EXACT).text
    assert "do not know" in unknown
