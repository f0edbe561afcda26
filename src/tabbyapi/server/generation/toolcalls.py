"""Finds tool calls in generated text: JSON in `<tool_call>` tags, or Qwen3-Coder's XML.

While a call is generated nothing is sent; all calls come whole at the end, as TabbyAPI does.
"""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

from .stopping import held_back

__all__ = ["ToolCallSplitter", "parse_call"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter=([^>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL
)


def parse_call(markup: str) -> list[dict[str, Any]]:
    """The calls (`name`, `arguments` as JSON text) between one pair of tags; [] if unreadable."""
    markup = markup.strip()
    if markup.startswith(("{", "[")):
        return _parse_json(markup)
    calls = []
    for name, body in _FUNCTION.findall(markup):
        arguments = {key.strip(): _typed(value) for key, value in _PARAMETER.findall(body)}
        calls.append({"name": name.strip(), "arguments": _dumps(arguments)})
    return calls


def _parse_json(markup: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(markup)
    except (ValueError, RecursionError):
        return []
    calls = []
    for call in found if isinstance(found, list) else [found]:
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            arguments = call.get("arguments", call.get("parameters", {}))
            text = arguments if isinstance(arguments, str) else _dumps(arguments)
            calls.append({"name": call["name"], "arguments": text})
    return calls


def _typed(value: str) -> Any:
    """A parameter's value: what looks like JSON becomes that type, anything else is text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class ToolCallSplitter:
    """Feed it content in any pieces; it passes on what is not part of a call.

    Attributes:
        seen: call markup has begun, readable or not.
        calls: the complete calls so far, as the protocol has them.
    """

    def __init__(self) -> None:
        self.seen = False
        self.calls: list[dict[str, Any]] = []
        self._inside = False
        self._rest = ""
        self._markup: list[str] = []

    def feed(self, text: str) -> str:
        """Take a piece; returns the content that is certain by now."""
        content = ""
        text, self._rest = self._rest + text, ""
        while text:
            tag = _CLOSE if self._inside else _OPEN
            at = text.find(tag)
            if at < 0:
                keep = held_back(text, tag)
                certain, self._rest = text[: len(text) - keep], text[len(text) - keep :]
                if self._inside:
                    self._markup.append(certain)
                else:
                    content += certain
                break
            if self._inside:
                self._markup.append(text[:at])
                self._take()
            else:
                content += text[:at]
                self.seen = True
            self._inside = not self._inside
            text = text[at + len(tag) :]
        return content

    def finish(self) -> str:
        """The end: what was held back; a call that was not closed is read as far as it goes."""
        rest, self._rest = self._rest, ""
        if not self._inside:
            return rest
        self._markup.append(rest)
        # Half an XML call would look complete, so only JSON is given a chance here.
        if "".join(self._markup).lstrip().startswith("{"):
            self._take()
        return ""

    def _take(self) -> None:
        for call in parse_call("".join(self._markup)):
            self.calls.append(
                {
                    "id": f"call_{uuid4().hex[:24]}",
                    "function": call,
                    "type": "function",
                    "index": len(self.calls),
                }
            )
        self._markup.clear()
