"""Tool calls that a server left in the text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tabbyapi
from support.replay import ReplayServer
from support.tool_runs import Run, answer, sent, tide, weather
from tabbyapi.tools import markup

CALLS = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}]',
    "mistral, later": '[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}',
    "llama": '{"name": "weather", "parameters": {"city": "Oslo"}}',
    "llama, tagged": '<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}',
    "function": '<function=weather>{"city": "Oslo"}</function>',
    "qwen coder": (
        "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n"
        "</function>\n</tool_call>"
    ),
    "openai": '[{"type": "function", "function": {"name": "weather", "arguments": '
    '"{\\"city\\": \\"Oslo\\"}"}}]',
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n"
    "```json\n"
    '{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "lm studio": '[TOOL_REQUEST]{"name": "weather", "arguments": {"city": "Oslo"}}'
    "[END_TOOL_REQUEST]",
}


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS)
def test_a_call_left_in_the_text_is_an_error_that_says_what_to_set(run: Run, text: str) -> None:
    with (
        ReplayServer([answer(text)]) as server,
        pytest.raises(tabbyapi.ToolLoopError, match="tool_format") as caught,
    ):
        run(server, tools=[weather])
    assert caught.value.text == text


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS)
def test_a_call_in_the_text_is_made_where_that_is_asked_for(run: Run, text: str) -> None:
    with ReplayServer([answer(f"Let me look.\n{text}"), answer("Sun.")]) as server:
        if text.startswith(("{", '[{"type')):  # bare JSON is a call only if it is alone
            server.replies = [answer(text), answer("Sun.")]
        result = run(server, tools=[weather], tools_from_text=True)
    assert result.text == "Sun."
    assert [each.value for each in result.results] == ["Oslo: sun for 1"]
    call = sent(server, 1)[1]["tool_calls"][0]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert "weather" not in (sent(server, 1)[1].get("content") or "")


def test_several_calls_in_the_text_are_made_in_order(run: Run) -> None:
    text = "".join(
        f'<tool_call>{{"name": "{name}", "arguments": {{"city": "{city}"}}}}</tool_call>'
        for name, city in [("weather", "Oslo"), ("tide", "Rome"), ("weather", "Bonn")]
    )
    with ReplayServer([answer(text), answer("Done.")]) as server:
        result = run(server, tools=[weather, tide], tools_from_text=True)
    assert [each.value for each in result.results] == [
        "Oslo: sun for 1",
        {"cm": 4},
        "Bonn: sun for 1",
    ]


def test_a_call_in_the_text_that_was_cut_off_is_said_to_be(run: Run) -> None:
    cut = answer('<tool_call>{"name": "weather", "argu', finish="length", eos="max_new_tokens")
    with ReplayServer([cut]) as server, pytest.raises(tabbyapi.ToolLoopError, match="max_tokens"):
        run(server, tools=[weather], tools_from_text=True)


@pytest.mark.parametrize(
    "text",
    [
        "Models write <tool_call> before a call.",
        'Like this:\n```\n<tool_call>{"name": "weather"}</tool_call>\n```',
        '{"city": "Oslo", "weather": "sun"}',
        '{"name": "Oslo", "arguments": {"weather": "sun"}}',
        '{"name": "weather", "arguments": {"city": "Oslo", "sky": "sun"}}',
        '<tool_call>{"name": "another", "arguments": {}}</tool_call>',
        "The weather is fine.",
        "",
    ],
)
def test_text_that_calls_none_of_the_tools_is_an_answer(run: Run, text: str) -> None:
    with ReplayServer([answer(text)]) as server:
        assert run(server, tools=[weather]).text == text


@given(
    st.lists(
        st.sampled_from([*CALLS.values(), "{", "}", '"', "weather", "<function=", "```", "[ARGS]"])
        | st.text(max_size=8),
        max_size=6,
    )
)
def test_no_text_makes_reading_fail(parts: list[str]) -> None:
    text = "".join(parts)
    markup.opener_of(text, {"weather": tabbyapi.tool_of(weather)})
    for call in markup.calls_of(text, {"weather"}):
        assert call.function.name == "weather"
