"""Tool calls are found in every format, with what models get wrong in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tabbyapi.server.generation.toolcalls import (
    CallSplitter,
    HarmonyCalls,
    HarmonySplitter,
    Llama3Splitter,
    MistralSplitter,
    ToolCallSplitter,
    parse_call,
)
from tabbyapi.server.prompt.render import message_variables
from tabbyapi.server.schemas import ChatCompletionMessage


def split(splitter: CallSplitter, text: str, size: int) -> tuple[str, list[tuple[str, Any]]]:
    content = "".join(splitter.feed(text[at : at + size]) for at in range(0, len(text), size))
    content += splitter.finish()
    functions = [call["function"] for call in splitter.calls]
    return content, [(each["name"], json.loads(each["arguments"])) for each in functions]


TAGGED = [
    (
        '<tool_call>{"name": "f", "arguments": {"x": "</tool_call>"}}</tool_call>',
        "",
        ["</tool_call>"],
    ),
    ('a<tool_call>\n```json\n{"name": "f", "arguments": {"x": 1}}\n```\n</tool_call>b', "ab", [1]),
    ('<tool_call>{"name": "f", "arguments": {"x": "one\ntwo"}}</tool_call>', "", ["one\ntwo"]),
    (
        '<tool_call>{"name": "f", "arguments": {"x": 1}}\n{"name": "f", "arguments": {"x": 2}}'
        "</tool_call>",
        "",
        [1, 2],
    ),
    ('<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>', "", ["NaN"]),
    ("<tool_call><function=f><parameter=x>\nNaN\n</parameter></function></tool_call>", "", ["NaN"]),
    (
        "<tool_call><function=f><parameter=x>a</tool_call>b</parameter></function></tool_call>",
        "",
        ["a</tool_call>b"],
    ),
    ('<tool_call>{"name": "f", "arguments": {"x": 3}}', "", [3]),
    ('<tool_call>{"name": "f", "arg": "open}</tool_call>after', "after", []),
    ('<tool_call>{"function": {"name": "f", "parameters": {"x": 4}}}</tool_call>', "", [4]),
]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("text", "content", "values"), TAGGED)
def test_calls_between_tags(text: str, content: str, values: list[Any], size: int) -> None:
    found, calls = split(ToolCallSplitter(), text, size)
    assert found == content
    assert calls == [("f", {"x": value}) for value in values]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('[TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}]', "", [("f", {"x": 1})]),
        ('So:[TOOL_CALLS]f[ARGS]{"x": 1}', "So:", [("f", {"x": 1})]),
        (
            '[TOOL_CALLS]f[CALL_ID]a1[ARGS]{"x": 1}[TOOL_CALLS]g[ARGS]{}',
            "",
            [("f", {"x": 1}), ("g", {})],
        ),
        ("a [TOOL] b", "a [TOOL] b", []),
    ],
)
def test_calls_of_mistral(text: str, content: str, calls: list[Any], size: int) -> None:
    assert split(MistralSplitter(), text, size) == (content, calls)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('{"name": "f", "parameters": {"x": 1}}', "", [("f", {"x": 1})]),
        ('<|python_tag|>{"name": "f", "parameters": {}}', "", [("f", {})]),
        (
            '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
            "",
            [("f", {}), ("g", {})],
        ),
        ('{"answer": 42}', '{"answer": 42}', []),
        ("Plain text {}", "Plain text {}", []),
    ],
)
def test_calls_of_llama_3(text: str, content: str, calls: list[Any], size: int) -> None:
    assert split(Llama3Splitter(), text, size) == (content, calls)


@pytest.mark.parametrize("size", [1, 1000])
def test_messages_of_harmony(size: int) -> None:
    splitter = HarmonySplitter()
    text = (
        "<|channel|>analysis<|message|>Let me look.<|end|><|start|>assistant"
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": 1}<|call|>'
        "<|start|>assistant<|channel|>final<|message|>It is so.<|return|>"
    )
    parts = [splitter.feed(text[at : at + size]) for at in range(0, len(text), size)]
    parts.append(splitter.finish())
    assert "".join(reasoning for reasoning, _ in parts) == "Let me look."
    assert "".join(content for _, content in parts) == "It is so."
    calls = HarmonyCalls(splitter)
    assert calls.seen
    assert [call["function"]["arguments"] for call in calls.calls] == ['{"x": 1}']


def test_arguments_that_are_text_already_are_passed_on() -> None:
    assert parse_call('{"name": "f", "arguments": "{\\"x\\": 1}"}')[0]["arguments"] == '{"x": 1}'


@pytest.mark.parametrize("arguments", ["", "{}", "null", None, {}])
def test_a_call_without_arguments_reaches_templates_as_an_empty_object(arguments: Any) -> None:
    function = {"name": "f", "arguments": arguments}
    message = {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]}
    parsed = ChatCompletionMessage.model_validate(message)
    (variables,) = message_variables([parsed])
    assert variables["tool_calls"][0]["function"]["arguments"] == {}
