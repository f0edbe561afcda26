"""What JSON schemas can ask for: enforced, taken for an annotation, or refused with the reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLTokenizer

from tabbyapi.server.errors import HTTPError
from tabbyapi.server.grammar.child import problem_of
from tabbyapi.server.grammar.constraints import constraint, forced_call, wants_json
from tabbyapi.server.grammar.monitor import GrammarMonitor
from tabbyapi.server.grammar.schemas import FORMATS
from tabbyapi.server.schemas import ChatCompletionRequest

from .conftest import CHAT, HELLO, Raw

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "structured.md"
TOKENIZER = LLTokenizer("byte")


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"messages": HELLO} | fields)


def allows(text: str, **fields: Any) -> bool:
    """Whether an answer may be, or begin with, this text."""
    grammar = constraint(request(**fields))
    assert grammar is not None
    assert problem_of(grammar.text, TOKENIZER) == ""
    return not GrammarMonitor(grammar.text).leaves(text)


def refusal(schema: Any) -> str:
    """Why a schema is refused, "" if it is not."""
    try:
        grammar = constraint(request(json_schema=schema))
    except HTTPError as error:
        return str(error)
    assert grammar is not None
    return problem_of(grammar.text, TOKENIZER)


@pytest.mark.parametrize(
    "fields",
    [
        {"json_schema": {}},
        {"json_schema": ""},
        {"json_schema": "{}"},
        {"grammar_string": ""},
        {"grammar_string": " \n"},
        {"regex_pattern": ""},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
        {"json_schema": {}, "grammar_string": "", "regex_pattern": ""},
    ],
)
def test_an_empty_constraint_is_none(http: Raw, fields: dict[str, Any]) -> None:
    assert constraint(request(**fields)) is None
    assert not wants_json(request(**fields))
    answer = http("POST", CHAT, {"messages": HELLO, "max_tokens": 3} | fields)
    assert answer.json()["choices"][0]["eos_reason"] == "max_new_tokens"


def test_an_empty_constraint_leaves_the_next_one_in_force() -> None:
    assert allows("ab", json_schema={}, regex_pattern="ab")
    assert not allows("xy", json_schema={}, regex_pattern="", grammar_string='start: "ab"')


@pytest.mark.parametrize(
    "schema", ["[" * 200_000, "{" * 200_000, '{"a":' * 5000 + "1" + "}" * 5000, "[1", "5", '"x"']
)
def test_a_schema_as_a_string_that_is_none_is_refused(http: Raw, schema: str) -> None:
    answer = http("POST", CHAT, {"messages": HELLO, "json_schema": schema})
    assert answer.status == 400
    assert answer.json()["detail"].startswith("json_schema ")


def test_gbnf_that_takes_long_to_translate_is_refused(http: Raw) -> None:
    text = "root ::= " + '"a" ' * 20_000
    answer = http("POST", CHAT, {"messages": HELLO, "grammar_string": text})
    assert answer.status == 400
    assert "32,768 characters" in answer.json()["detail"]


# ---------------------------------------------------------------------- features of schemas

OBJECT = {"type": "object", "additionalProperties": False}
INTEGER, TEXT = {"type": "integer"}, {"type": "string"}

ENFORCED: dict[str, tuple[Any, str, str]] = {  # a schema, what it allows, what it does not
    "type": (INTEGER, "12", '"a"'),
    "enum": ({"enum": [1, "a"]}, '"a"', '"b"'),
    "const": ({"const": {"a": 1}}, '{"a": 1}', '{"a": 2}'),
    "properties": (OBJECT | {"properties": {"a": INTEGER}}, '{"a": 1}', '{"a": "x"}'),
    "required": (OBJECT | {"properties": {"a": INTEGER}, "required": ["a"]}, '{"a": 1}', "{}"),
    "additionalProperties": (OBJECT | {"properties": {"a": INTEGER}}, "{}", '{"b": 1}'),
    "patternProperties": (OBJECT | {"patternProperties": {"^a": INTEGER}}, '{"ab": 1}', '{"b": 1}'),
    "minProperties": ({"type": "object", "minProperties": 1}, '{"a": 1}', "{}"),
    "maxProperties": ({"type": "object", "maxProperties": 1}, '{"a": 1}', '{"a": 1, "b": 2}'),
    "items": ({"type": "array", "items": INTEGER}, "[1, 2]", '["a"]'),
    "prefixItems": ({"type": "array", "prefixItems": [INTEGER, TEXT]}, '[1, "a"]', '["a"]'),
    "minItems": ({"type": "array", "items": INTEGER, "minItems": 2}, "[1, 2]", "[1]"),
    "maxItems": ({"type": "array", "items": INTEGER, "maxItems": 1}, "[1]", "[1, 2]"),
    "minLength": (TEXT | {"minLength": 2}, '"ab"', '"a"'),
    "maxLength": (TEXT | {"maxLength": 2}, '"ab"', '"abc"'),
    "pattern": (TEXT | {"pattern": "^a+$"}, '"aa"', '"b"'),
    "minimum": (INTEGER | {"minimum": 5}, "7", "4"),
    "maximum": (INTEGER | {"maximum": 5}, "5", "6"),
    "exclusiveMinimum": (INTEGER | {"exclusiveMinimum": 5, "maximum": 9}, "6", "5"),
    "exclusiveMaximum": (INTEGER | {"exclusiveMaximum": 5, "minimum": 0}, "4", "5"),
    "multipleOf": (INTEGER | {"multipleOf": 5, "minimum": 0, "maximum": 9}, "5", "7"),
    "anyOf": ({"anyOf": [INTEGER, {"type": "null"}]}, "null", '"a"'),
    "allOf": ({"allOf": [TEXT, {"minLength": 2}]}, '"ab"', '"a"'),
    "oneOf": ({"oneOf": [INTEGER, TEXT]}, '"a"', "null"),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": INTEGER}}, "1", '"a"'),
    "$anchor": ({"$ref": "#b", "$defs": {"a": {"$anchor": "b"} | INTEGER}}, "1", '"a"'),
}

ANNOTATIONS: dict[str, Any] = {
    "title": "x",
    "description": "x",
    "default": 1,
    "examples": [1],
    "deprecated": True,
    "readOnly": True,
    "writeOnly": True,
    "contentEncoding": "base64",
    "contentMediaType": "text/plain",
    "discriminator": {"propertyName": "a"},
    "$comment": "x",
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "http://example.org/x",
}

REFUSED: dict[str, Any] = {
    "not": {"not": TEXT},
    "if": {"if": TEXT, "then": {"minLength": 2}},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "dependentSchemas": {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
    "uniqueItems": {"type": "array", "uniqueItems": True},
    "contains": {"type": "array", "contains": INTEGER},
    "propertyNames": {"type": "object", "propertyNames": {"pattern": "^a"}},
    "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
    "unevaluatedItems": {"type": "array", "unevaluatedItems": False},
    "$dynamicRef": {"$dynamicRef": "#n", "$defs": {"a": {"$dynamicAnchor": "n"} | INTEGER}},
}

SAMPLES = {
    "date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "time": "03:04:05Z",
    "duration": "P1D", "email": "a@example.org", "hostname": "example.org", "ipv4": "1.2.3.4",
    "ipv6": "::1", "uuid": "12345678-1234-1234-1234-123456789abc",
}  # fmt: skip


@pytest.mark.parametrize("keyword", ENFORCED)
def test_an_enforced_keyword_is_enforced(keyword: str) -> None:
    schema, good, bad = ENFORCED[keyword]
    assert allows(good, json_schema=schema)
    grammar = constraint(request(json_schema=schema))
    assert grammar is not None
    monitor = GrammarMonitor(grammar.text)
    # A text that ends too early is one that a further character must follow.
    assert monitor.leaves(bad) or not monitor._matcher.is_accepting()


@pytest.mark.parametrize("keyword", ANNOTATIONS)
def test_an_annotation_changes_nothing(keyword: str) -> None:
    assert allows("12", json_schema=INTEGER | {keyword: ANNOTATIONS[keyword]})
    assert not allows('"a"', json_schema=INTEGER | {keyword: ANNOTATIONS[keyword]})


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_keyword_that_cannot_be_enforced_is_named(keyword: str) -> None:
    assert keyword in refusal(REFUSED[keyword])


def test_keys_that_a_model_could_repeat_are_not_counted_on() -> None:
    schema = OBJECT | {"patternProperties": {"^a": INTEGER}, "minProperties": 2}
    assert "minProperties" in refusal(schema)
    assert refusal(schema | {"minProperties": 1}) == ""


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_known_format_is_enforced(name: str) -> None:
    schema = TEXT | {"format": name}
    assert allows(json.dumps(SAMPLES[name]), json_schema=schema)
    assert not allows('"!"', json_schema=schema)


@pytest.mark.parametrize(
    "name",
    ["idn-email", "idn-hostname", "uri-reference", "iri", "uri-template", "json-pointer", "regex",
     "byte", "binary", "int32", "password", "my-own", ""],
)  # fmt: skip
def test_any_other_format_is_an_annotation(name: str) -> None:
    assert allows('"!"', json_schema=TEXT | {"format": name})
    assert allows("5", json_schema=INTEGER | {"format": name})


@pytest.mark.parametrize("more", [{}, {"minLength": 1, "maxLength": 2083}, {"pattern": "^http"}])
def test_a_uri_looks_like_one(http: Raw, more: dict[str, Any]) -> None:
    schema = TEXT | {"format": "uri"} | more
    assert allows('"https://example.org/a?b=c#d"', json_schema=schema)
    assert not allows('"http://a b"', json_schema=schema)
    assert not allows('"x"', json_schema=schema)
    answer = http("POST", CHAT, {"messages": HELLO, "max_tokens": 60, "json_schema": schema})
    assert answer.status == 200, answer.data


def test_the_guide_lists_these_features() -> None:
    rows = {
        cells[1].strip(): set(re.findall(r"`([^`]+)`", cells[2]))
        for line in GUIDE.read_text(encoding="utf-8").splitlines()
        if len(cells := line.split("|")) == 4
    }
    assert rows["enforced"] == ENFORCED.keys()
    assert rows["annotations"] == ANNOTATIONS.keys()
    assert rows["refused"] == REFUSED.keys()
    assert rows["formats that are enforced"] == FORMATS | {"uri"}


# --------------------------------------------------------------------------- forced calls

PARAMETERS = {
    "by definition": {
        "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"], "$defs": {"n": INTEGER}},
    "by another property": {
        "properties": {"b": INTEGER, "a": {"$ref": "#/properties/b"}}, "required": ["a"]},
    "under an id": {
        "$id": "http://example.org/tool", "properties": {"a": {"$ref": "#/$defs/n"}},
        "required": ["a"], "$defs": {"n": INTEGER}},
    "in definitions": {
        "properties": {"a": {"$ref": "#/definitions/n"}}, "required": ["a"],
        "definitions": {"n": INTEGER}},
}  # fmt: skip


def forced(parameters: dict[str, Any]) -> GrammarMonitor:
    function = {"name": 'say "x"', "description": "d", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    grammar = forced_call(request(tools=tools, tool_choice="required"))
    assert grammar is not None
    assert problem_of(grammar.text, TOKENIZER) == ""
    return GrammarMonitor(grammar.text)


def call(arguments: str) -> str:
    opening = '<tool_call>\n{"name": "say \\"x\\"", "arguments": '
    return opening + arguments + "}\n</tool_call>"


@pytest.mark.parametrize("name", PARAMETERS)
def test_references_of_parameters_are_to_the_parameters(name: str) -> None:
    assert not forced(PARAMETERS[name]).leaves(call('{"a": 7}'))
    assert forced(PARAMETERS[name]).leaves(call('{"a": "x"}'))


def test_parameters_that_refer_to_themselves_nest() -> None:
    schema = {"properties": {"n": {"anyOf": [{"$ref": "#"}, INTEGER]}}, "required": ["n"]}
    assert not forced(schema).leaves(call('{"n": {"n": 5}}'))
    assert forced(schema).leaves(call('{"n": {"n": "x"}}'))


def test_a_tool_without_parameters_takes_no_arguments() -> None:
    assert not forced({}).leaves(call("{}"))
    assert forced({}).leaves(call('{"a": 1}'))
