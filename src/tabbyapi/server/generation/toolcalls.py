"""Finds tool calls in generated text, in the formats that models write them in.

- tags (`hermes`, `qwen3_coder`): JSON, or Qwen3-Coder's XML, between `<tool_call>` tags.
- `mistral`: `[TOOL_CALLS]`, then a JSON list of calls, or `name[ARGS]{...}` repeated.
- `llama3`: the whole answer is a JSON object with `name` and `parameters`.
- `harmony`: messages to `functions.NAME` (see `HarmonySplitter`).

While a call is generated nothing is sent; all calls come whole at the end, as TabbyAPI does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Protocol
from uuid import uuid4

from .stopping import held_back

__all__ = [
    "MARKERS",
    "CallSplitter",
    "HarmonyCalls",
    "HarmonySplitter",
    "Llama3Splitter",
    "MistralSplitter",
    "ToolCallSplitter",
    "parse_call",
]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PYTHON = "<|python_tag|>"
_HARMONY = (
    *("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"),
    *("<|end|>", "<|call|>", "<|return|>"),
)
MARKERS = (_OPEN, _CLOSE, "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", _PYTHON, *_HARMONY)
"""Markup that may be control tokens, whose text the engine does not show by itself."""

_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter=([^>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL
)
_FENCE = re.compile(r"^```\w*\s*(.*?)\s*(?:```)?$", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*("?)', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False, parse_constant=str)  # NaN is no JSON: text


class CallSplitter(Protocol):
    """Takes content in any pieces, and passes on what is not part of a call.

    Attributes:
        seen: call markup has begun, readable or not.
        calls: the complete calls so far, as the protocol has them.
    """

    @property
    def seen(self) -> bool: ...

    @property
    def calls(self) -> list[dict[str, Any]]: ...

    def feed(self, text: str) -> str:
        """Take text; returns the content that is certain by now."""
        ...

    def finish(self) -> str:
        """The end: returns the content that was held back."""
        ...


def parse_call(markup: str) -> list[dict[str, Any]]:
    """The calls (`name`, `arguments` as JSON text) between one pair of tags; [] if unreadable."""
    markup = _FENCE.sub(r"\1", markup.strip())
    if markup.startswith(("{", "[")):
        return [call for value in _values(markup) for call in _calls_of(value)]
    calls = []
    for name, body in _FUNCTION.findall(markup):
        arguments = {key.strip(): _typed(value) for key, value in _PARAMETER.findall(body)}
        calls.append({"name": name.strip(), "arguments": _dumps(arguments)})
    return calls


def _values(text: str) -> Iterator[Any]:
    """JSON values that follow one another, up to the first thing that is none."""
    at = 0
    while at < len(text):
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
        while at < len(text) and text[at] in " \t\r\n,;":
            at += 1


def _calls_of(value: Any) -> Iterator[dict[str, Any]]:
    for call in value if isinstance(value, list) else [value]:
        if not isinstance(call, dict):
            continue
        if isinstance(call.get("function"), dict):
            call = call["function"]
        if isinstance(call.get("name"), str):
            arguments = call.get("arguments", call.get("parameters", {}))
            text = arguments if isinstance(arguments, str) else _dumps(arguments)
            yield {"name": call["name"], "arguments": text}


def _typed(value: str) -> Any:
    """A parameter's value: what looks like JSON becomes that type, anything else is text."""
    try:
        return json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _numbered(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{uuid4().hex[:24]}", "function": call, "type": "function", "index": index}
        for index, call in enumerate(calls)
    ]


class ToolCallSplitter:
    """Calls between tags. A closing tag inside of a JSON string or a parameter closes nothing."""

    def __init__(self) -> None:
        self.seen = False
        self._found: list[dict[str, Any]] = []
        self._inside = False
        self._rest = ""

    @property
    def calls(self) -> list[dict[str, Any]]:
        return _numbered(self._found)

    def feed(self, text: str) -> str:
        """Take text; returns the content that is certain by now."""
        content = ""
        text, self._rest = self._rest + text, ""
        while text:
            if self._inside:
                end = _closing(text)
                if end < 0:
                    self._rest = text
                    break
                self._found += parse_call(text[:end])
                text, self._inside = text[end + len(_CLOSE) :], False
                continue
            at = text.find(_OPEN)
            if at < 0:
                keep = held_back(text, _OPEN)
                content += text[: len(text) - keep]
                self._rest = text[len(text) - keep :]
                break
            content += text[:at]
            text, self._inside, self.seen = text[at + len(_OPEN) :], True, True
        return content

    def finish(self) -> str:
        """The end: a call that was not closed is read as far as it goes."""
        rest, self._rest = self._rest, ""
        if not self._inside:
            return rest
        # A tag that seemed to be inside of a string closes the call after all.
        markup, tag, after = rest.partition(_CLOSE)
        # Half an XML call would look complete, so only JSON is given a chance here.
        if tag or markup.lstrip(" \n`json").startswith(("{", "[")):
            self._found += parse_call(markup)
        if not tag:
            return ""
        self._inside = False
        return self.feed(after) + self.finish()


def _closing(text: str) -> int:
    """Where a closing tag ends the markup; -1 if it does not yet."""
    at = text.find(_CLOSE)
    if at < 0:
        return -1
    is_json = text.lstrip().startswith(("{", "[", "```"))
    while at >= 0:
        before = text[:at]
        open_ends = _ends_in_string(before) if is_json else _ends_in_parameter(before)
        if not open_ends:
            return at
        at = text.find(_CLOSE, at + 1)
    return -1


def _ends_in_string(text: str) -> bool:
    return any(not match[1] for match in _STRING.finditer(text))


def _ends_in_parameter(text: str) -> bool:
    return text.rfind("<parameter=") > text.rfind("</parameter>")


class MistralSplitter:
    """Everything after `[TOOL_CALLS]` is calls."""

    def __init__(self) -> None:
        self._rest = ""
        self._markup: str | None = None

    @property
    def seen(self) -> bool:
        return self._markup is not None

    @property
    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for part in (self._markup or "").split("[TOOL_CALLS]"):
            name, args, arguments = part.partition("[ARGS]")
            if args:
                value = next(_values(arguments.strip()), None)
                if value is not None:
                    name = name.partition("[CALL_ID]")[0].strip()
                    found.append({"name": name, "arguments": _dumps(value)})
            else:
                found += parse_call(part)
        return _numbered(found)

    def feed(self, text: str) -> str:
        """Take text; returns the content that is certain by now."""
        if self._markup is not None:
            self._markup += text
            return ""
        text, self._rest = self._rest + text, ""
        content, tag, markup = text.partition("[TOOL_CALLS]")
        if tag:
            self._markup = markup
            return content
        keep = held_back(text, "[TOOL_CALLS]")
        self._rest = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The end: returns the content that was held back."""
        rest, self._rest = self._rest, ""
        return rest


class Llama3Splitter:
    """The whole answer is calls, or none is one: it is held while it may be JSON."""

    def __init__(self) -> None:
        self._held: str | None = ""
        self._found: list[dict[str, Any]] = []

    @property
    def seen(self) -> bool:
        return bool(self._found)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return _numbered(self._found)

    def feed(self, text: str) -> str:
        """Take text; returns the content that is certain by now."""
        if self._held is None:
            return text
        self._held += text
        begin = self._held.lstrip()
        if not begin or begin.startswith("{") or _PYTHON.startswith(begin[: len(_PYTHON)]):
            return ""
        text, self._held = self._held, None
        return text

    def finish(self) -> str:
        """The end: returns the content that was held back and is no call."""
        held, self._held = self._held or "", None
        self._found = parse_call(held.strip().removeprefix(_PYTHON))
        return "" if self._found else held


class HarmonySplitter:
    """Splits gpt-oss's messages: analysis is reasoning, final is content, the rest may be calls.

    A message is `<|channel|>CHANNEL to=RECIPIENT<|message|>TEXT<|end|>`. `feed` and `finish` return
    (reasoning, content), as `ReasoningSplitter` does.
    """

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.seen = False
        self.reasoning = False
        self._rest = ""
        self._header: str | None = None  # None inside of a text
        self._callee = ""
        self._call = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Take text; returns (reasoning, content) that is certain by now."""
        text = self._rest + text
        keep = max(held_back(text, marker) for marker in _HARMONY)
        text, self._rest = text[: len(text) - keep], text[len(text) - keep :]
        parts = {True: "", False: ""}
        for part in re.split(f"({'|'.join(map(re.escape, _HARMONY))})", text):
            if part == "<|message|>":
                self._begin(self._header or "")
            elif part in ("<|start|>", "<|end|>", "<|call|>", "<|return|>"):
                self._end()
            elif part in _HARMONY:
                self._header = (self._header or "") + " "
            elif self._header is not None:
                self._header += part
            elif self._callee:
                self._call += part
            else:
                parts[self.reasoning] += part
        return parts[True], parts[False]

    def finish(self) -> tuple[str, str]:
        """The end: returns what was held back as a possible marker."""
        rest, self._rest = self._rest, ""
        if self._header is not None or self._callee:
            rest = ""
            self._end()
        return (rest, "") if self.reasoning else ("", rest)

    def _begin(self, header: str) -> None:
        recipient = re.search(r"to=(?:functions\.)?([\w.-]+)", header)
        self._callee = recipient[1] if recipient else ""
        self.seen = self.seen or bool(recipient)
        self.reasoning = not recipient and "analysis" in header
        self._header = None

    def _end(self) -> None:
        if self._callee and (value := next(_values(self._call.strip()), None)) is not None:
            self.found.append({"name": self._callee, "arguments": _dumps(value)})
        self._callee = self._call = self._header = ""


class HarmonyCalls:
    """The calls that a `HarmonySplitter` found, which has seen the text before."""

    def __init__(self, splitter: HarmonySplitter) -> None:
        self._splitter = splitter

    @property
    def seen(self) -> bool:
        return self._splitter.seen

    @property
    def calls(self) -> list[dict[str, Any]]:
        return _numbered(self._splitter.found)

    def feed(self, text: str) -> str:
        """Pass the text on."""
        return text

    def finish(self) -> str:
        """Nothing was held back."""
        return ""
