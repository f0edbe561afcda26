"""Requests made to do harm: each is answered or refused, and the next one is served as ever."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tabbyapi.local_server import LocalServer
from tabbyapi.server.generation.jobs import check_limits
from tabbyapi.server.schemas import ChatCompletionRequest

from .conftest import API, CHAT, HELLO, Raw, data_events

HEADERS = {"X-Api-Key": API, "Content-Type": "application/json"}


def refused(http: Raw, fields: dict[str, Any], status: int = 400) -> str:
    """The reason why a chat with these fields is refused."""
    answer = http("POST", CHAT, {"messages": HELLO, "max_tokens": 4} | fields)
    assert answer.status == status, answer.data[:300]
    return str(answer.json()["detail"])


# ------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"messages": [' + b"{}," * 20_000 + b"{}]}", 413, "10,000 messages"),
        (b'{"tokens": [' + b"1," * 300_000 + b"1]}", 413, "250,000 members"),
        (b'{"messages": [], "temperature": NaN}', 400, "NaN is no number"),
        (b'{"messages": [], "min_p": -Infinity}', 400, "-Infinity is no number"),
        (b'{"messages": [], "min_p": 1e999}', 422, "finite_number"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, 400, "nested too deeply"),
    ],
)
def test_a_body_beyond_the_limits_is_refused(
    http: Raw, body: bytes, status: int, reason: str
) -> None:
    answer = http("POST", CHAT, raw=body, headers=HEADERS)
    assert answer.status == status
    assert reason in answer.data.decode()
    assert len(answer.data) < 1000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"n": 10**6}, "n comes to 1,000,000 choices; this server takes at most 128"),
        ({"n": 64, "logprobs": 100}, "n times top_logprobs comes to 6,400"),
        ({"stop": ["x"] * 2000}, "stop comes to 2,000 entries"),
        ({"stop": "x" * 100_000}, "stop comes to 100,000 characters"),
        ({"banned_strings": ["x" * 99] * 256}, "banned_strings comes to 25,344 characters"),
        ({"logit_bias": {str(k): 1.0 for k in range(70_000)}}, "logit_bias comes to 70,000"),
    ],
)
def test_a_field_beyond_its_limit_is_named(http: Raw, fields: dict[str, Any], reason: str) -> None:
    assert reason in refused(http, fields)


def test_a_token_of_thousands_of_digits_is_none(http: Raw) -> None:
    assert http.chat(banned_tokens="1, 2, x, " + "9" * 5000, max_tokens=2)["choices"]


def test_texts_to_encode_and_to_embed_are_bounded(http: Raw, local_server: LocalServer) -> None:
    answer = http("POST", "/v1/token/encode", {"text": "x" * 1_048_577})
    assert answer.status == 400
    assert "1,048,577 characters; this server encodes 1,048,576 at once" in answer.json()["detail"]
    embedding = Raw(local_server, http.pool)
    headers = {"X-Api-Key": local_server.api_key, "Content-Type": "application/json"}
    answer = embedding("POST", "/v1/embeddings", {"input": "x" * 3_000_000}, headers=headers)
    assert answer.status == 400
    assert "3,000,000 characters" in answer.json()["error"]["message"]


def test_long_texts_are_encoded_in_turn_and_others_do_not_wait_for_them(http: Raw) -> None:
    text = "<|im_end|>" * 10_000
    with ThreadPoolExecutor(6) as many:
        asked = [many.submit(http, "POST", "/v1/token/encode", {"text": text}) for _ in range(6)]
        assert http.chat(max_tokens=1)["choices"]
        assert [each.result().json()["length"] for each in asked] == [10_000] * 6


def test_what_anyone_asks_for_is_within_the_limits() -> None:
    usual = {
        "messages": HELLO, "n": 8, "logprobs": 20, "stop": ["\n", "User:", 5],
        "banned_strings": ["as an AI"] * 100, "logit_bias": {"5": 1}, "tools": [],
    }  # fmt: skip
    check_limits(ChatCompletionRequest.model_validate(usual))


@pytest.mark.parametrize(
    "field",
    ["max_tokens", "min_tokens", "top_k", "penalty_range", "dry_range", "dry_allowed_length",
     "mirostat_mode", "repetition_decay", "loop_detect_window", "seed", "top_logprobs",
     "reasoning_budget_tokens"],
)  # fmt: skip
def test_enormous_numbers_are_brought_into_range(http: Raw, field: str) -> None:
    fields = {"stop": ["a", "e", "i", "n", "$", "K"], "loop_detect_window": 20} | {field: 10**30}
    answer = http("POST", CHAT, {"messages": HELLO, "max_tokens": 4} | fields)
    if field == "min_tokens":
        assert answer.status == 400  # it is above max_tokens
    else:
        assert answer.json()["choices"][0]["eos_reason"]
    bias = {"logit_bias": {str(10**30): 1, "-5": 1}, "banned_tokens": [10**30, -1]}
    assert http.chat(**bias)["choices"][0]["eos_reason"] == "max_new_tokens"


def test_a_prompt_that_cannot_fit_is_not_even_encoded(http: Raw) -> None:
    messages = [{"role": "user", "content": "x" * 3_000_000}]
    answer = http("POST", CHAT, {"messages": messages})
    assert answer.status == 400
    assert "characters" in answer.json()["error"]["message"]


def test_a_validation_error_does_not_send_everything_back(http: Raw) -> None:
    answer = http("POST", CHAT, {"messages": [{"role": 5}] * 1000})
    assert answer.status == 422
    assert len(answer.json()["detail"]) == 100
    answer = http("POST", CHAT, {"messages": "x" * 2_000_000})
    assert answer.status == 422
    assert len(answer.data) < 1000


def test_choices_that_outgrow_the_shared_context_wait_for_each_other(random_model: Path) -> None:
    server = LocalServer(random_model, api_keys=(API,), threads=1, n_ctx=256)
    with server, urllib3.PoolManager() as pool:
        raw = Raw(server, pool)
        fields = {"messages": HELLO, "n": 4, "max_tokens": 200, "loop_detect_window": 0}
        answer = raw("POST", CHAT, fields)
        assert answer.status == 200
        assert [c["eos_reason"] for c in answer.json()["choices"]] == ["max_new_tokens"] * 4
        events = data_events(raw("POST", CHAT, fields | {"stream": True}).data)
        assert events[-1] == "[DONE]"
        assert raw("GET", "/health").json()["status"] == "healthy"


# ------------------------------------------------------------------------- constraints

HOSTILE = {
    "a huge repetition": {"regex_pattern": "(a{1,1000}){1,1000}"},
    "nested repetitions": {"regex_pattern": "((((a{99}){99}){99}){99}){99}"},
    "exponential alternatives": {"regex_pattern": "(a|b)*a" + "(a|b)" * 60},
    "nested stars": {"regex_pattern": "(" * 50 + "a*" + ")*" * 50},
    "endless backslashes": {"regex_pattern": "\\\\" * 100_000 + "/"},
    "a large alternation": {"regex_pattern": "|".join(f"w{k}" for k in range(40_000))},
    "many optional parts": {"regex_pattern": "a?" * 5000 + "a" * 5000},
    "left recursion": {"grammar_string": "start: start start | start | "},
    "endless ambiguity": {"grammar_string": 'start: a a a a a a a a\na: "x"* a? "x"*'},
    "many rules": {"grammar_string": "start: r0\n" + "".join(
        f"r{k}: r{k + 1} r{k + 1}\n" for k in range(3000)) + 'r3000: "x"'},
    "unbalanced GBNF": {"grammar_string": "root ::= " + "(" * 5000},
    "recursive GBNF": {"grammar_string": 'root ::= root root | root | ""'},
    "a schema of itself": {"json_schema": {"$ref": "#"}},
    "a circle of references": {"json_schema": {
        "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}},
    "a reference elsewhere": {"json_schema": {"$ref": "file:///etc/passwd"}},
    "a reference to the network": {"json_schema": {"$ref": "http://127.0.0.1:1/x"}},
    "a product of alternatives": {"json_schema": {"allOf": [
        {"anyOf": [{"properties": {f"p{k}_{j}": {"type": "string"}}} for j in range(4)]}
        for k in range(14)]}},
    "a long string": {"json_schema": {"type": "string", "minLength": 10**9}},
    "a long list": {"json_schema": {"type": "array", "minItems": 10**9}},
    "a large enum": {"json_schema": {"enum": [f"value {k}" for k in range(12_000)]}},
    "many properties": {"json_schema": {"type": "object", "properties": {
        f"p{k}": {"type": "integer"} for k in range(6000)}}},
    "many required": {"json_schema": {"type": "object", "required": [
        f"p{k}" for k in range(3000)]}},
    "a hard pattern": {"json_schema": {"type": "string", "pattern": "^(a+)+$(b*)*c{9999}"}},
    "enormous numbers": {"json_schema": {
        "type": "integer", "minimum": -(10**300), "maximum": 10**300, "multipleOf": 7}},
    "a tiny multiple": {"json_schema": {"type": "number", "multipleOf": 1e-300}},
    "deep nesting": {"json_schema": json.loads('{"items":' * 60 + "{}" + "}" * 60)},
    "no schema": {"json_schema": [1, 2]},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_constraint_is_kept_or_refused(http: Raw, name: str) -> None:
    body = {"messages": HELLO, "max_tokens": 12} | HOSTILE[name]
    answer = http("POST", CHAT, body)
    assert answer.status in (200, 400), answer.data[:300]
    if answer.status == 400:
        (field,) = HOSTILE[name]
        reason = answer.json()["detail"]
        assert field in reason or "too hard to keep" in reason
    assert http("GET", "/health").status == 200
    assert http.chat(max_tokens=1)["choices"][0]["eos_reason"] == "max_new_tokens"


def test_a_schema_that_refers_to_itself_alone_is_said_to_fit_nothing(http: Raw) -> None:
    reason = refused(http, {"json_schema": {"$ref": "#"}})
    assert reason == "json_schema cannot be enforced: no text can ever fit it"


def test_a_constraint_that_the_engine_gives_up_is_never_lost_in_silence(http: Raw) -> None:
    # A row of the parser holds 2,000 items, which this needs after its first brace.
    many = {"type": "object", "properties": {f"p{k}": {"type": "integer"} for k in range(600)}}
    assert "too hard to keep" in refused(http, {"json_schema": many, "max_tokens": 40})
    events = http.events(json_schema=many, max_tokens=40)
    assert "too hard to keep" in events[-1]["error"]["message"]
    assert http("GET", "/health").json()["issues"] == []


# ---------------------------------------------------------------------------- templates


@pytest.mark.parametrize(
    "variables",
    [
        {"messages": "mine", "add_generation_prompt": [], "bos_token": {}},
        {"self": 1, "context": 2, "loop": 3, "range": 4, "cycler": None},
        {"raise_exception": "x", "strftime_now": 5, "tojson": {}},
        {"not an identifier": 1, "": 2, "__class__": 3, "import": 4, "\u0000": 5},
        {"tools": {"deep": [[[[]]]]}, "enable_thinking": "\ud83d\ude00", "x": 10**300},
    ],
)
def test_surprising_template_variables_change_nothing_else(
    http: Raw, variables: dict[str, Any]
) -> None:
    usage = {"stream_options": {"include_usage": True}, "max_tokens": 1}
    plain = http.chat(**usage)["usage"]["prompt_tokens"]
    assert http.chat(**usage, template_vars=variables)["usage"]["prompt_tokens"] == plain


# -------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\u0000b", "..", "x" * 9999])
def test_a_model_named_by_a_path_is_not_looked_for(http: Raw, name: str) -> None:
    assert http.chat(model=name)["model"] == "random-tiny"
