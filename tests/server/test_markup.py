"""Reasoning and tool calls in generated text; a grammar makes the model say just what is needed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi.local_server import LocalServer
from tabbyapi.server.generation.reasoning import ReasoningSplitter
from tabbyapi.server.generation.toolcalls import ToolCallSplitter

from .conftest import API, Raw

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
HERMES = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
XML = "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"


@pytest.fixture(scope="module")
def thinker(random_model: Path) -> Iterator[Raw]:
    """A server that splits reasoning and reads tool calls."""
    settings: dict[str, Any] = {"reasoning": "on", "tool_format": "hermes", "threads": 1}
    server = LocalServer(random_model, api_keys=(API,), chat_template=TEMPLATE, **settings)
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


def says(text: str, **fields: Any) -> dict[str, Any]:
    """Request fields that leave the model nothing else to say."""
    return {"grammar_string": f"start: {json.dumps(text)}", "max_tokens": 500} | fields


def test_reasoning_goes_to_its_own_field(thinker: Raw) -> None:
    told = says("<think>Hm, yes.</think>\n\nIt is so.")
    message = thinker.chat(**told)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm, yes.", "\n\nIt is so.")
    deltas = [e["choices"][0]["delta"] for e in thinker.events(**told)[:-1]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Hm, yes."
    assert "".join(d.get("content", "") for d in deltas) == "\n\nIt is so."


def test_markup_inside_of_json_is_text(thinker: Raw) -> None:
    for field in (
        {"json_schema": {"enum": ["<tool_call>"]}},
        {"response_format": {"type": "json_schema", "json_schema": {"enum": ["<tool_call>"]}}},
    ):
        choice = thinker.chat(max_tokens=500, **field)["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["tool_calls"] is None
        assert json.loads(choice["message"]["content"]) == "<tool_call>"


def test_text_held_back_as_a_tag_comes_with_the_end(thinker: Raw) -> None:
    last = thinker.events(**says("OK <t"))[-2]["choices"][0]
    assert last["delta"] == {"content": "<t"}
    assert last["finish_reason"] == "stop"


def test_a_prompt_that_opens_reasoning_starts_in_it(thinker: Raw) -> None:
    told = {"regex_pattern": "42!", "enable_thinking": True, "max_tokens": 300}
    biased = told | {"logit_bias": {"60": 4}, "loop_detect_window": 0}
    message = thinker.chat(**biased)["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["content"] in (None, "42!")


def test_a_reasoning_budget_ends_the_reasoning(thinker: Raw) -> None:
    fields = {"enable_thinking": True, "max_tokens": 60, "reasoning_budget_tokens": 10}
    message = thinker.chat(**fields, reasoning_budget_message=" Enough.")["choices"][0]["message"]
    assert message["reasoning_content"].endswith(" Enough.")
    assert len(message["reasoning_content"]) <= 12 + len(" Enough.")
    assert len(message["content"]) >= 40


@pytest.mark.parametrize("markup", [HERMES, XML])
def test_tool_calls_are_read_and_arrive_whole(thinker: Raw, markup: str) -> None:
    told = says(f"I will look.\n\n{markup}\n{markup}", stream_options={"include_usage": True})
    choice = thinker.chat(**told)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"].strip() == "I will look."
    calls = choice["message"]["tool_calls"]
    assert [call["index"] for call in calls] == [0, 1]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"x": 1}] * 2
    *_, data, last, done = thinker.events(**told)
    assert len(data["choices"][0]["delta"]["tool_calls"]) == 2
    assert data["choices"][0]["finish_reason"] is None
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert last["usage"]
    assert done == "[DONE]"


def test_a_call_that_cannot_be_read_still_ends_as_one(thinker: Raw) -> None:
    choice = thinker.chat(**says("<tool_call>nonsense</tool_call>"))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] is None
    assert choice["message"]["content"] is None


def test_tool_choice_none_leaves_markup_in_the_content(thinker: Raw) -> None:
    choice = thinker.chat(**says(HERMES, tool_choice="none"))["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == HERMES


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.text("ab <>/think\n", max_size=30),
    st.text("ab <>/thk\n", max_size=30),
    st.lists(st.integers(0, 999), max_size=12),
)
def test_reasoning_splits_alike_in_any_pieces(thought: str, content: str, cuts: list[int]) -> None:
    text = f"<think>{thought}</think>{content}"

    def split(parts: list[str]) -> tuple[str, str]:
        splitter = ReasoningSplitter("<think>", "</think>")
        found = [splitter.feed(part) for part in parts] + [splitter.finish()]
        return "".join(r for r, _ in found), "".join(c for _, c in found)

    assert split(pieces(text, cuts)) == split([text])


@given(st.text("ab<>/tol_c\n", max_size=20), st.lists(st.integers(0, 999), max_size=12))
def test_tool_calls_split_alike_in_any_pieces(around: str, cuts: list[int]) -> None:
    text = f"{around}{HERMES}\n{around}{XML}{around}"

    def split(parts: list[str]) -> tuple[str, list[dict[str, Any]]]:
        splitter = ToolCallSplitter()
        content = "".join([splitter.feed(part) for part in parts] + [splitter.finish()])
        return content, [call["function"] for call in splitter.calls]

    assert split(pieces(text, cuts)) == split([text])


@pytest.mark.parametrize(
    "nothing",
    [
        {"json_schema": {}, "grammar_string": "", "regex_pattern": ""},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    ],
)
def test_empty_constraints_mean_none(thinker: Raw, nothing: dict[str, Any]) -> None:
    plain = {"temperature": 0, "loop_detect_window": 0, "max_tokens": 12}
    free = thinker.chat(**plain)["choices"][0]["message"]
    assert thinker.chat(**plain, **nothing)["choices"][0]["message"] == free


REFERRING = [
    (
        {"type": "object", "properties": {"a": {"const": 7}, "b": {"$ref": "#/properties/a"}},
         "required": ["a", "b"], "additionalProperties": False},
        {"a": 7, "b": 7},
    ),
    (
        {"properties": {"a": {"$ref": "#/$defs/one"}}, "required": ["a"],
         "additionalProperties": False, "$defs": {"one": {"const": 1}}},
        {"a": 1},
    ),
    ({}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "arguments"), REFERRING)
def test_references_of_a_forced_tool_resolve_against_its_own_parameters(
    thinker: Raw, parameters: dict[str, Any], arguments: dict[str, Any]
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    choice = thinker.chat(tools=[tool], tool_choice="required", max_tokens=200)["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == arguments
