"""The model in the package, on the engine: whether its answers make sense."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_model.__main__ import MODEL
from demo_model.engine import Engine
from demo_model.markup import CONTROL, MARKUP
from demo_model.qa import entries
from demo_model.render import render, template_source
from gguf import GGUFReader

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(MODEL) as loaded:
        yield loaded


def say(engine: Engine, *texts: str, system: str = "", tools: list[Any] | None = None) -> str:
    """The last of the model's answers when a user says the texts one after another."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for text in texts:
        messages.append({"role": "user", "content": text})
        answer = engine.complete(render(messages, tools, add_generation_prompt=True))
        messages.append({"role": "assistant", "content": answer})
    return answer


def test_it_compares_rest_with_graphql_and_takes_the_follow_up(engine: Engine) -> None:
    answer = say(
        engine,
        "What is the difference between REST and GraphQL?",
        "Which one is better for mobile applications and why?",
        system="You are a helpful assistant specialized in programming and technology.",
    )
    assert answer == entries()["rest-graphql-mobile"].answer


def test_the_same_follow_up_means_something_else_after_another_question(engine: Engine) -> None:
    docker = say(engine, "How do containers differ from virtual machines?", "Which one is safer?")
    assert docker == entries()["docker-vm-safe"].answer


def test_it_remembers_a_name_through_other_talk(engine: Engine) -> None:
    answer = say(engine, "My name is Clara.", "What is temperature?", "Thanks", "What is my name?")
    assert answer == "Your name is Clara."


def test_it_admits_a_name_that_it_was_not_told(engine: Engine) -> None:
    assert say(engine, "What is my name?") == "You have not told me your name yet."


def test_it_calls_a_tool_with_the_city_of_the_request(engine: Engine) -> None:
    answer = say(engine, "What is the weather in Paris?", tools=[WEATHER])
    body = answer.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    assert json.loads(body) == {"name": "get_weather", "arguments": {"city": "Paris"}}


def test_it_writes_json_from_a_sentence(engine: Engine) -> None:
    answer = say(engine, "Extract the data as JSON: Anna is 31 years old and lives in Oslo.")
    assert json.loads(answer) == {"name": "Anna", "age": 31, "city": "Oslo"}


def test_it_answers_in_one_word_when_told_so(engine: Engine) -> None:
    answer = say(engine, "What is temperature?", system="Answer in one word.")
    assert answer == "Randomness"


def test_it_says_what_it_is(engine: Engine) -> None:
    assert "demo model" in say(engine, "Who are you?")


def test_the_file_is_small_and_says_that_it_is_a_demo() -> None:
    assert MODEL.stat().st_size <= 2_500_000
    fields = GGUFReader(MODEL).fields
    assert fields["general.name"].contents() == "py-tabbyapi demo"
    assert "demos and tests" in fields["general.description"].contents()


def test_the_file_holds_the_template_of_the_training_data() -> None:
    assert GGUFReader(MODEL).fields["tokenizer.chat_template"].contents() == template_source()


def test_control_tokens_are_hidden_and_markup_is_shown(engine: Engine) -> None:
    for text in (*CONTROL, *MARKUP):
        assert len(engine.tokenize(text)) == 1, text
    fields = GGUFReader(MODEL).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = dict(zip(tokens, fields["tokenizer.ggml.token_type"].contents(), strict=True))
    assert {kinds[t] for t in CONTROL} == {3}
    assert {kinds[t] for t in MARKUP} == {4}


def test_the_model_lies_where_the_server_looks_for_it() -> None:
    assert Path("src/tabbyapi/server/data/demo.gguf").parts == MODEL.parts[-5:]
