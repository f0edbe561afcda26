"""Tool calls that a server left in the text: notice them, and read them.

Models write calls in the markup of their training. A server without a tool format for its model
passes that markup on as text. Known here: `<tool_call>{...}</tool_call>` (Qwen, Hermes, with JSON
or `<function=...>` inside), `[TOOL_CALLS]` (Mistral), `<|python_tag|>` and bare JSON (Llama),
`<function=name>{...}</function>`, and their likes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from ..types import FunctionCall, ToolCall
from .describe import Tool

__all__ = ["calls_of", "opener_of"]

_OPENER = re.compile(
    r"<\|?/?tools?_calls?(?:_begin)?\|?>|\[/?TOOL_(?:CALLS|REQUEST)\]|<\|python_tag\|>|<function_?calls?>"
    r"|<function=|<｜tool▁calls?▁begin｜>|<\|tool_calls?_section_begin\|>|<start_function_call>"
)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_XML = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_NAME_BEFORE = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:\[ARGS\]|<｜tool▁sep｜>)?\s*(?:```json)?\s*\Z")
_json = json.JSONDecoder()


def opener_of(text: str, tools: Mapping[str, Tool]) -> str | None:
    """The markup with which a text begins to call one of the tools; None if it calls none.

    Markup in a code block is not a call, nor is one that names none of the tools. JSON without
    markup is a call only if it also gives no argument that the tool does not have: models repeat
    a call together with its result, and that is an answer.
    """
    found = _OPENER.search(_FENCE.sub("", text))
    if found is not None:
        rest = text.partition(found[0])[2]
        return found[0] if any(name in rest for name in tools) else None
    start = text.lstrip()[:1]
    if (
        start
        and start in "{["
        and any(_fits(tools.get(name), given) for name, given in _json_calls(text))
    ):
        return start
    return None


def _fits(tool: Tool | None, arguments: str) -> bool:
    """True if a tool has all of the arguments by name."""
    given = _value(arguments)
    if tool is None or not isinstance(given, dict):
        return False
    return tool.more is not None or given.keys() <= tool.parameters.keys()


def calls_of(text: str, names: Collection[str]) -> list[ToolCall]:
    """The calls in a text, in order; [] if none can be read."""
    found = list(_xml_calls(text)) or list(_json_calls(text))
    return [
        ToolCall(function=FunctionCall(name, arguments))
        for name, arguments in found
        if name in names
    ]


def _xml_calls(text: str) -> Iterator[tuple[str, str]]:
    for name, body in _XML.findall(text):
        parameters = _PARAMETER.findall(body)
        if parameters:
            values = {key: _value(value) for key, value in parameters}
            yield name, msgspec.json.encode(values).decode()
        else:
            yield name, body.strip() or "{}"


def _value(text: str) -> Any:
    """A parameter's value: JSON if it is that, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json_calls(text: str) -> Iterator[tuple[str, str]]:
    """Objects with a name and arguments; an object after a name is that tool's arguments."""
    at = text.find("{")
    while at >= 0:
        try:
            value, end = _json.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        function = value.get("function", value)
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            arguments = function.get("arguments", function.get("parameters", {}))
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            yield function["name"], written
        elif (before := _NAME_BEFORE.search(text, 0, at)) is not None:
            yield before[1], json.dumps(value)
        at = text.find("{", end)
