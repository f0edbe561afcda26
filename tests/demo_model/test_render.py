"""The chat template that goes into the model file."""

import json

from demo_model.render import render, template_source

USER = {"role": "user", "content": "Hello"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "It's <the> weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def test_messages_stand_between_their_markers() -> None:
    messages = [{"role": "system", "content": "Be kind."}, USER]
    assert render(messages, add_generation_prompt=True) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_without_a_system_message_none_is_made_up() -> None:
    assert render([USER]) == "<|im_start|>user\nHello<|im_end|>\n"


def test_tools_stand_as_plain_json_in_the_system_block() -> None:
    text = render([USER], [TOOL])
    head, _, rest = text.partition("<tools>\n")
    assert head.startswith("<|im_start|>system\n")
    assert json.loads(rest.partition("\n</tools>")[0]) == TOOL


def test_a_call_is_rendered_the_same_from_an_object_and_from_text() -> None:
    def call(arguments: object) -> list[dict[str, object]]:
        function = {"name": "get_weather", "arguments": arguments}
        return [USER, {"role": "assistant", "tool_calls": [{"function": function}]}]

    expected = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    assert expected in render(call({"city": "Oslo"}))
    assert render(call({"city": "Oslo"})) == render(call('{"city": "Oslo"}'))


def test_two_calls_and_their_results_stay_together() -> None:
    function = {"name": "f", "arguments": {}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"function": function}] * 2},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
    ]
    text = render(messages)
    assert text.count("<tool_call>") == 2
    assert text.endswith(
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n"
        "<tool_response>\ntwo\n</tool_response><|im_end|>\n"
    )


def test_no_messages_make_an_empty_prompt() -> None:
    assert render([]) == ""


def test_the_template_uses_nothing_beyond_common_jinja() -> None:
    assert "import" not in template_source()
    assert "previtem" not in template_source()
