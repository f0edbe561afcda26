"""Meaning, end to end: our client, the local server, the engine and the default model.

At temperature 0, with a system message: the model is small, so questions are easy ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("xllamacpp")

import tabbyapi
from tabbyapi import LocalServer, system, user

EXACT: dict[str, Any] = {"temperature": 0, "max_tokens": 60}
HELPFUL = "You are a helpful assistant."


@pytest.fixture(scope="module")
def client(smollm: Path) -> Iterator[tabbyapi.Client]:
    with LocalServer(smollm) as server, server.client() as client:
        yield client


def ask(client: tabbyapi.Client, question: str, **params: Any) -> str:
    return client.chat.create([system(HELPFUL), user(question)], **EXACT | params).text


def test_easy_questions_are_answered(client: tabbyapi.Client) -> None:
    assert "Paris" in ask(client, "What is the capital of France?")
    assert "Jupiter" in ask(client, "What is the largest planet in the solar system?")


def test_the_first_question_of_a_newcomer_and_a_follow_up(client: tabbyapi.Client) -> None:
    talk = client.conversation(**EXACT | {"max_tokens": 120})
    first = talk.send("What are the benefits of dependency injection?").text
    assert "code" in first
    assert "class" in first
    assert "inject" in talk.send("Can you give a short example of that?").text


def test_a_follow_up_depends_on_the_turn_before(client: tabbyapi.Client) -> None:
    talk = client.conversation(HELPFUL, **EXACT)
    talk.send("What is the capital of France?")
    assert "Paris" in talk.send("Tell me more about that city.").text


def test_a_stream_says_the_same_as_the_whole_answer(client: tabbyapi.Client) -> None:
    messages = [system(HELPFUL), user("What is the capital of France?")]
    whole = client.chat.create(messages, **EXACT)
    with client.chat.create_stream(messages, **EXACT) as stream:
        assert "".join(stream.text_deltas()) == whole.text
    assert "Paris" in whole.text
    assert whole.finish_reason == stream.response.finish_reason == "stop"


def test_a_stop_string_ends_the_answer_before_it(client: tabbyapi.Client) -> None:
    messages = [system(HELPFUL), user("What is the capital of France?")]
    whole = client.chat.create(messages, **EXACT).text
    stop = whole.split()[3]
    reply = client.chat.create(messages, stop=[stop], **EXACT)
    assert reply.text == whole[: whole.index(stop)]
    assert reply.choices[0].stop_str == stop


@dataclass
class City:
    """A city."""

    city: str
    country: Literal["France", "Spain", "Japan"]


def test_a_schema_gives_a_typed_value(client: tabbyapi.Client) -> None:
    messages = [system(HELPFUL), user("Answer in JSON: which country is the city of Paris in?")]
    parsed = client.chat.parse(messages, City, **EXACT)
    assert parsed.value == City("Paris", "France")


def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
        city: the city
    """
    return json.dumps({"city": city, "condition": "sunny"})


def test_a_required_tool_call_is_made_with_what_was_asked(client: tabbyapi.Client) -> None:
    ran = client.chat.run(
        [system(HELPFUL), user("What is the weather in Paris?")],
        tools=[get_weather],
        tool_choice="required",
        **EXACT,
    )
    assert [result.call.function.name for result in ran.results] == ["get_weather"]
    assert ran.response.finish_reason in ("stop", "length")
    assert ran.response.text
