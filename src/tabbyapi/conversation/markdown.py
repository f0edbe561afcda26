"""Format a conversation as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..types.messages import ChatMessage

__all__ = ["markdown_of"]

_TITLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool result"}


def markdown_of(messages: Sequence[ChatMessage], *, reasoning: bool = False) -> str:
    """Format messages: a heading each, texts as they are, tool calls and results as code."""
    return "\n\n".join(_message(message, reasoning) for message in messages) + "\n" * bool(messages)


def _message(message: ChatMessage, reasoning: bool) -> str:
    blocks = [f"### {_TITLES.get(message.role, message.role.capitalize())}"]
    if reasoning and message.reasoning_content:
        lines = message.reasoning_content.strip().splitlines()
        blocks.append("\n".join(f"> {line}".rstrip() for line in lines))
    text = _content(message)
    if text:
        blocks.append(_fenced(text) if message.role == "tool" else text)
    for call in message.tool_calls or ():
        blocks.append(f"`{call.function.name}`")
        blocks.append(_fenced(call.function.arguments, "json"))
    return "\n\n".join(blocks)


def _content(message: ChatMessage) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return (content or "").strip()
    parts = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif part.image_url is None:
            parts.append(part.text or "")
        elif part.image_url.url.startswith("data:"):
            parts.append("*(image)*")
        else:
            parts.append(f"![image](<{part.image_url.url}>)")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
