"""Constrained output: schemas, regular expressions and grammars as one grammar text.

Everything becomes a Lark grammar for llguidance, which the engine has built in; `grammars` checks
it before the engine sees it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from llguidance.gbnf_to_lark import gbnf_to_lark

from ..errors import HTTPError
from ..schemas import ChatCompletionRequest, GenerationRequest, NamedToolChoice, ToolSpec
from .checker import Grammar
from .schemas import adapted

__all__ = ["constraint", "forced_call", "wants_json"]

_HEADER = "%llguidance {}\n"
_LARGEST = 256 * 1024
_LARGEST_GBNF = 32 * 1024  # it is translated in the event loop, 2 us a character
# Schemas beyond these take the engine seconds to compile, in which it answers no request.
_DEEPEST = 32
_MOST_MEMBERS = 5000
_MOST_COUNTED = 10_000
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")

_NONE = {"additionalProperties": False}

# Without this a model may fill its whole answer with spaces between two keys.
_COMPACT = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}


def constraint(request: GenerationRequest, *, after_reasoning: str = "") -> Grammar | None:
    """The grammar a request asks for, None if it asks for none.

    `after_reasoning` is the tag that ends the reasoning the answer begins with; the constraint
    applies from there on. Raises `HTTPError` (400) for what is no schema, or too large.
    """
    found = _requested(request)
    if found is None:
        return None
    field, lark = found
    return _whole(field, lark, after_reasoning)


def forced_call(request: ChatCompletionRequest, *, after_reasoning: str = "") -> Grammar | None:
    """The grammar of exactly one tool call, where `tool_choice` demands one."""
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return None
    tools = request.tools or []
    if isinstance(choice, NamedToolChoice):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
        if not tools:
            raise HTTPError(
                400, f"tool_choice names {choice.function.name!r}, which is not in tools"
            )
    if not tools:
        raise HTTPError(400, "tool_choice demands a call, but there are no tools")
    calls = " | ".join(f"call_{k}" for k in range(len(tools)))
    rules = [f'start: "<tool_call>\\n" ({calls}) "\\n</tool_call>"']
    for k, tool in enumerate(tools):
        # The parameters are a schema of their own, so that references resolve against its root.
        opening = json.dumps({"name": tool.function.name})[:-1] + ', "arguments": '
        rules.append(f'call_{k}: {json.dumps(opening)} arguments_{k} "}}"')
        rules.append(f"arguments_{k}: %json {_schema('tools', _parameters(tool))}")
    return _whole("tools", "\n".join(rules), after_reasoning)


def _parameters(tool: ToolSpec) -> dict[str, Any]:
    """The schema of a tool's arguments. One that describes none allows none."""
    schema = dict(tool.function.parameters or {})
    return {"type": "object", **schema} if schema else {"type": "object", "properties": {}} | _NONE


def wants_json(request: GenerationRequest) -> bool:
    """True if the answer must be JSON."""
    return _requested_schema(request) is not None


def _requested_schema(request: GenerationRequest) -> tuple[str, Any] | None:
    """The field that asks for JSON, and its schema. An empty schema asks for nothing."""
    form = request.response_format
    if form is not None and form.type in ("json", "json_object"):
        return "response_format", {"type": "object"}
    if form is not None and form.type == "json_schema":
        schema, field = _unwrapped(form.json_schema), "response_format"
    else:
        schema, field = request.json_schema, "json_schema"
    return None if schema is None or schema in ({}, "", "{}") else (field, schema)


def _requested(request: GenerationRequest) -> tuple[str, str] | None:
    """The field that decides, and its grammar. What is empty asks for nothing."""
    if (found := _requested_schema(request)) is not None:
        field, schema = found
        return field, f"start: %json {_schema(field, schema)}"
    for name in ("regex_pattern", "grammar_string"):
        if len(getattr(request, name) or "") > _LARGEST:
            raise HTTPError(400, f"{name} is larger than {_LARGEST} characters")
    if request.regex_pattern:
        return "regex_pattern", _regex(request.regex_pattern)
    if request.grammar_string and request.grammar_string.strip():
        return "grammar_string", _grammar(request.grammar_string)
    return None


def _unwrapped(schema: Any) -> Any:
    """OpenAI wraps the schema; it counts as wrapped only with both keys."""
    if isinstance(schema, dict) and "name" in schema and "schema" in schema:
        return schema["schema"]
    return schema


def _schema(field: str, schema: Any) -> str:
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise HTTPError(400, f"{field} is not valid JSON: {error}") from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise HTTPError(400, f"{field} must be a JSON schema: an object")
    _bound(field, schema)
    return json.dumps(adapted(schema) | _COMPACT)


def _bound(field: str, schema: Any) -> None:
    level, depth, members = [schema], 0, 0
    while level:
        depth += 1
        members += sum(map(len, level))
        if depth > _DEEPEST:
            raise HTTPError(400, f"{field} is nested more than {_DEEPEST} levels deep")
        if members > _MOST_MEMBERS:
            raise HTTPError(400, f"{field} has more than {_MOST_MEMBERS:,} members")
        for node in level:
            if not isinstance(node, dict):
                continue
            counted = isinstance(node.get("minProperties"), int) and node["minProperties"] > 1
            if counted and isinstance(node.get("patternProperties"), dict):
                # The engine counts members, and a model may repeat a key to make up the number.
                raise HTTPError(
                    400, f"{field}: minProperties above 1 cannot be kept with patternProperties"
                )
            for name in _COUNTS:
                count = node.get(name)
                if isinstance(count, (int, float)) and count > _MOST_COUNTED:
                    raise HTTPError(400, f"{field}: {name} may be {_MOST_COUNTED:,} at most")
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]


def _regex(pattern: str) -> str:
    escaped = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", r"\n")
    return f"start: /{escaped}/"


def _grammar(text: str) -> str:
    if "::=" not in text:
        return text
    if len(text) > _LARGEST_GBNF:
        raise HTTPError(
            400, f"grammar_string is larger than {_LARGEST_GBNF:,} characters, for GBNF: use Lark"
        )
    try:
        return str(gbnf_to_lark(text))
    except Exception as error:  # it raises bare Exceptions, too
        raise HTTPError(400, f"grammar_string cannot be read as GBNF: {error}") from None


def _whole(field: str, lark: str, after_reasoning: str) -> Grammar:
    if after_reasoning:
        tag = json.dumps(after_reasoning)
        lark = re.sub(r"^start\s*:", "answer:", lark, count=1, flags=re.MULTILINE)
        lark = f"start: thought answer\nthought[suffix={tag}]: /(?s:.*)/\n{lark}"
    if len(lark) > _LARGEST:
        raise HTTPError(400, f"{field} is larger than {_LARGEST} bytes as a grammar")
    return Grammar(_HEADER + lark, field)
