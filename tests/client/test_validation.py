"""Bad input is refused before anything is sent, by name and with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.replay import ReplayServer, json_reply

import tabbyapi
from tabbyapi import ChatCompletionRequest, ChatMessage, ChatMessageContent, assistant, tool, user
from tabbyapi._protocol.requests.rules import rules_of
from tabbyapi.types.params import (
    NOT_SENT,
    ChatParams,
    DecodeParams,
    DownloadParams,
    EmbeddingParams,
    EncodeParams,
    GenerationParams,
    LoadEmbeddingParams,
    LoadParams,
    LoraParams,
    SamplingParams,
)

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": -1}, "max_tokens", "0 or more"),
    ({"max_tokens": 1.5}, "max_tokens", "whole number"),
    ({"max_tokens": "5"}, "max_tokens", "whole number"),
    ({"max_tokens": True}, "max_tokens", "whole number"),
    ({"max_tokens": 2**70}, "max_tokens", "64 bits"),
    ({"min_tokens": 9, "max_tokens": 5}, "min_tokens", "max_tokens"),
    ({"temperature": -0.1}, "temperature", "0 to 10"),
    ({"temperature": 11}, "temperature", "0 to 10"),
    ({"temperature": float("nan")}, "temperature", "finite"),
    ({"temperature": "hot"}, "temperature", "0 to 10"),
    ({"top_p": 1.01}, "top_p", "0 to 1"),
    ({"top_k": -2}, "top_k", "-1 or more"),
    ({"typical": 0}, "typical", "above 0"),
    ({"min_p": float("inf")}, "min_p", "finite"),
    ({"xtc_probability": 2}, "xtc_probability", "0 to 1"),
    ({"frequency_penalty": -0.5}, "frequency_penalty", "at least 0"),
    ({"presence_penalty": -1}, "presence_penalty", "at least 0"),
    ({"repetition_penalty": 0}, "repetition_penalty", "above 0"),
    ({"penalty_range": -2}, "penalty_range", "-1 or more"),
    ({"min_temp": 2.0, "max_temp": 1.0}, "min_temp", "max_temp"),
    ({"min_temp": 1.5}, "min_temp", "default"),
    ({"n": 0}, "n", "1 or more"),
    ({"stop": ""}, "stop", "not empty"),
    ({"stop": ["a", ""]}, "stop[1]", "something in it"),
    ({"stop": [1.5]}, "stop[0]", "token ids"),
    ({"stop": 5}, "stop", "a string"),
    ({"banned_strings": [5]}, "banned_strings[0]", "strings"),
    ({"banned_tokens": ["x"]}, "banned_tokens[0]", "token ids"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "token ids"),
    ({"logit_bias": {5: "much"}}, "logit_bias[5]", "a number"),
    ({"logprobs": -1}, "logprobs", "0 or more"),
    ({"token_healing": "yes"}, "token_healing", "True or False"),
    ({"model": 5}, "model", "a string"),
    ({"json_schema": "{}"}, "json_schema", "schema"),
    ({"json_schema": {}}, "json_schema", "takes an empty schema for none"),
    ({"regex_pattern": ""}, "regex_pattern", "constrains nothing"),
    ({"grammar_string": ""}, "grammar_string", "constrains nothing"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        "response_format.json_schema",
        "takes an empty schema for none",
    ),
    (
        {"json_schema": {"type": "object"}, "response_format": {"type": "json"}},
        "response_format",
        "would drop json_schema",
    ),
    ({"num_predict": 5}, "num_predict", "use max_tokens"),
    ({"format": "json"}, "format", "use json_schema"),
    ({"options": {"temperature": 0}}, "options", "a parameter of its own"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "holds no"),
    ({"response_format": "json"}, "response_format", "a dict"),
    ({"tool_choice": "maybe"}, "tool_choice", "auto"),
    ({"tool_choice": "required"}, "tools", "no tools"),
    ({"tools": [{"function": {"name": "f"}}]}, "tools[0].function.description", "description"),
    ({"tools": [5]}, "tools[0]", ""),
    ({"reasoning": {"effort": 5}}, "reasoning.effort", "a string"),
    ({"reasoning": {"budget": 5}}, "reasoning.budget", "max_tokens"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "True or False"),
    ({"template_vars": [1]}, "template_vars", "a dict"),
    ({"extra_body": [1]}, "extra_body", "a dict"),
    ({"extra_body": {"x": object()}}, "x", "JSON"),
    ({"timeout": -1}, "timeout", "positive"),
    ({"timeout": "soon"}, "timeout", "seconds"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt", ""),
    ({"seed": 1}, "seed", "no seed"),
    ({"max_completion_tokens": 5}, "max_completion_tokens", "use max_tokens"),
    ({"temprature": 1}, "temprature", "temperature"),
    ({"stream": True}, "stream", "create_stream"),
]


@pytest.mark.parametrize(("params", "field", "said"), REFUSED, ids=lambda v: str(v)[:40])
def test_a_bad_parameter_is_refused(params: dict[str, Any], field: str, said: str) -> None:
    with (
        ReplayServer(json_reply(200, {})) as server,
        tabbyapi.Client(server.url) as client,
        pytest.raises(tabbyapi.ValidationError) as caught,
    ):
        client.chat.create([user("Hello")], **params)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == "validation_error"
    assert caught.value.field == field
    assert said in str(caught.value)
    assert server.requests == []


MESSAGES: list[tuple[Any, str]] = [
    ([], "messages"),
    ("Hello", "messages"),
    (user("Hello"), "messages"),
    ({"role": "user", "content": "Hello"}, "messages"),
    (None, "messages"),
    ([5], "messages[0]"),
    (["Hello"], "messages[0]"),
    ([{"role": "", "content": "x"}], "messages[0].role"),
    ([ChatMessage("", "x")], "messages[0].role"),
    ([{"role": None, "content": "x"}], "messages[0].role"),
    ([{"role": 1, "content": "x"}], "messages[0].role"),
    ([user("x"), {"role": "user", "content": 5}], "messages[1].content"),
    ([{"role": "user"}], "messages[0].content"),
    ([{"role": "user", "content": []}], "messages[0].content"),
    ([user([{"type": "text"}])], "messages[0].content[0].text"),
    ([user([ChatMessageContent()])], "messages[0].content[0].text"),
    ([user([{"type": "audio"}])], "messages[0].content[0].type"),
    ([user([{"type": "image_url"}])], "messages[0].content[0].image_url"),
    ([user([{"type": "image_url", "image_url": "cat.png"}])], "messages[0].content[0].image_url"),
    (
        [user([{"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AA"}}])],
        "messages[0].content[0].image_url",
    ),
    ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls[0].function"),
    ([{"role": "tool", "content": "x", "tool_call_id": 5}], "messages[0].tool_call_id"),
]


@pytest.mark.parametrize(("messages", "field"), MESSAGES, ids=lambda v: str(v)[:40])
def test_a_bad_message_is_refused(messages: Any, field: str) -> None:
    with tabbyapi.Client() as client, pytest.raises(tabbyapi.ValidationError) as caught:
        client.chat.create(messages)
    assert caught.value.field == field


def sent(messages: Any, **params: Any) -> dict[str, Any]:
    """The body that reaches the server."""
    with ReplayServer(json_reply(200, {"choices": [{}]})) as server:
        with tabbyapi.Client(server.url) as client:
            client.chat.create(messages, **params)
        body: dict[str, Any] = server.requests[0].json
    return body


def test_what_is_not_given_is_not_sent() -> None:
    assert sent([user("Hello")], temperature=None) == {
        "messages": [{"role": "user", "content": "Hello"}],
        "stream_options": {"include_usage": True},
    }


def test_zero_and_false_are_sent() -> None:
    body = sent([user("x")], temperature=0, top_k=0, max_tokens=0, token_healing=False, stop=[])
    assert body["temperature"] == 0
    assert body["top_k"] == 0
    assert body["max_tokens"] == 0
    assert body["token_healing"] is False
    assert body["stop"] == []


def test_messages_of_every_kind_mix() -> None:
    body = sent(
        [
            {"role": "system", "content": "Be brief.", "name": None},
            user("Look:", ChatMessageContent("text", "here")),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}],
            },
            tool("42", tool_call_id="1"),
            assistant("Done.", reasoning_content="hm"),
        ]
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look:"}, {"type": "text", "text": "here"}],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "assistant", "content": "Done.", "reasoning_content": "hm"},
    ]


def test_a_reply_goes_into_the_next_request_as_it_is() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": None,
        "tool_call_id": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "index": 0,
                "function": {"name": "f", "arguments": ""},
            }
        ],
    }
    answer = json_reply(200, {"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    with ReplayServer(answer) as server, tabbyapi.Client(server.url) as client:
        reply = client.chat.create([user("Hello")])
        client.chat.create([user("Hello"), reply.message])
        again = server.requests[1].json["messages"][1]
    assert again == {"role": "assistant", "tool_calls": message["tool_calls"]}


def test_a_prepared_request_is_sent_and_can_be_overridden() -> None:
    request = ChatCompletionRequest(messages=[user("Hello")], max_tokens=5, temperature=0.5)
    body = sent(request, temperature=0)
    assert (body["max_tokens"], body["temperature"]) == (5, 0)


def test_what_the_server_would_ignore_is_translated() -> None:
    assert sent([user("x")], response_format={"type": "json_object"})["response_format"] == {
        "type": "json"
    }
    wrapped = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}
    assert sent([user("x")], response_format=wrapped)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"type": "object"},
    }
    assert sent([user("x")], top_logprobs=2)["logprobs"] is True
    going_on = sent([user("x"), assistant("I was")], continue_final_message=True)
    assert going_on["add_generation_prompt"] is False


def test_newer_fields_go_into_extra_body() -> None:
    assert sent([user("x")], extra_body={"seed": 7})["seed"] == 7


def test_usage_can_be_declined() -> None:
    body = sent([user("x")], stream_options={"include_usage": False})
    assert body["stream_options"] == {"include_usage": False}


@pytest.mark.parametrize("role", ["developer", "critic", "tool_responses"])
def test_any_role_is_sent_because_the_template_decides(role: str) -> None:
    for message in ({"role": role, "content": "x"}, ChatMessage(role, "x")):
        assert sent([message])["messages"] == [{"role": role, "content": "x"}]


def test_several_constraints_are_sent_together_because_the_server_applies_all() -> None:
    body = sent([user("x")], json_schema={"type": "string"}, regex_pattern="[a-z]+")
    assert body["json_schema"] == {"type": "string"}
    assert body["regex_pattern"] == "[a-z]+"


def test_an_empty_message_can_be_continued() -> None:
    body = sent([user("x"), assistant("")], continue_final_message=True)
    assert body["messages"][-1] == {"role": "assistant", "content": ""}


def test_request_fields_and_parameters_are_the_same() -> None:
    fields = set(ChatCompletionRequest.__struct_fields__) - {"messages", "stream"}
    assert fields == ChatParams.__annotations__.keys() - NOT_SENT


DESCRIBED = [
    *(ChatParams, GenerationParams, SamplingParams, LoadParams, LoadEmbeddingParams),
    *(DownloadParams, EncodeParams, DecodeParams, LoraParams, EmbeddingParams),
]


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda params: params.__name__)
def test_every_parameter_has_a_rule_that_refuses_or_accepts_anything(described: Any) -> None:
    open_to_all = {"json_schema", "response_format", "tools"}
    for name, rule in rules_of(described).items():
        if name in open_to_all:
            continue
        with pytest.raises(tabbyapi.ValidationError) as caught:
            rule(name, object())
        assert caught.value.field == name


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("http://h:1", "http://h:1"),
        ("http://h:1/", "http://h:1"),
        ("http://h:1/v1", "http://h:1"),
        ("https://h/tabby/v1/", "https://h/tabby"),
        ("h:5000", "http://h:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://h.example.:5000", "http://h.example.:5000"),
        ("http://b\u00fccher.example", "http://b\u00fccher.example"),
    ],
)
def test_addresses_are_normalised(given: str, root: str) -> None:
    with tabbyapi.Client(given) as client:
        assert client.base_url == root


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://h", "http://", "http://u:secret@h", "http://h?x=1", "http://h:port", "http://a b"),
        *("http://a..b", "http://.h", "http://" + "a" * 64 + ".h", "http://" + "\u00e9" * 64),
    ],
)
def test_bad_addresses_are_refused(url: str) -> None:
    with pytest.raises(tabbyapi.ValidationError) as caught:
        tabbyapi.Client(url)
    assert caught.value.field == "base_url"
    assert "secret" not in str(caught.value)


def test_settings_fall_back_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with ReplayServer(json_reply(200, {"choices": [{}]})) as server:
        monkeypatch.setenv("TABBY_API_ENDPOINT", server.url + "/v1")
        monkeypatch.setenv("TABBY_API_KEY", "from-the-environment")
        with tabbyapi.Client() as client:
            client.chat.create([user("Hello")])
        assert server.requests[0].headers["x-api-key"] == "from-the-environment"


@pytest.mark.parametrize(
    ("keys", "header", "value"),
    [
        ({"api_key": "a"}, "x-api-key", "a"),
        ({"api_key": "a", "admin_key": "b"}, "x-api-key", "a"),
        ({"admin_key": "b"}, "x-api-key", "b"),
        ({"bearer_token": "c"}, "authorization", "Bearer c"),
        ({"api_key": "a", "bearer_token": "c"}, "x-api-key", "a"),
        ({"api_key": " "}, None, None),
        ({}, None, None),
    ],
)
def test_a_chat_carries_one_key_header_at_most(
    keys: dict[str, str], header: str | None, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TABBY_API_KEY", raising=False)
    monkeypatch.delenv("TABBY_ADMIN_KEY", raising=False)
    with ReplayServer(json_reply(200, {"choices": [{}]})) as server:
        with tabbyapi.Client(server.url, **keys) as client:
            client.chat.create([user("Hello")])
        headers = server.requests[0].headers
    found = {n: v for n, v in headers.items() if n in ("x-api-key", "x-admin-key", "authorization")}
    assert found == ({header: value} if header else {})


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_untold(key: str) -> None:
    with pytest.raises(tabbyapi.ValidationError) as caught:
        tabbyapi.Client(api_key=key)
    assert key not in str(caught.value)


def test_clients_show_no_key() -> None:
    with tabbyapi.Client(api_key="hush", admin_key="hush2") as client:
        assert "hush" not in repr(client)
        assert "hush" not in repr(vars(client))
