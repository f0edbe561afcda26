"""Messages as HTML. Their buttons carry `data-act` and `data-i`, which the page listens for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from urllib.parse import quote

from ..types.messages import ChatMessage, ChatMessageContent, ToolCall
from .markdown import Safe, code_block, plain, render

__all__ = ["button", "image_of", "message_html", "reasoning_html", "tool_calls_html"]

_render = lru_cache(maxsize=256)(render)
_LABELS = {"user": "You", "assistant": "Answer", "tool": "Tool result"}


def message_html(
    message: ChatMessage, index: int, chat: str, *, last: bool = False, json_mode: bool = False
) -> Safe:
    """A whole message with its buttons.

    Args:
        message: what to show.
        index: its place among the messages.
        chat: name of the chat, for the addresses of its images.
        last: it is the last one, so it can be regenerated.
        json_mode: show it as JSON.
    """
    role = message.role if message.role in _LABELS else "user"
    label = _LABELS[role]
    if role == "assistant":
        text = message.text
        body = code_block(_indented(text), "json") if json_mode and text else _render(text)
        content = (
            reasoning_html(message.reasoning_content or "")
            + f'<div class="body">{body}</div>'
            + tool_calls_html(message.tool_calls or ())
        )
    elif role == "tool":
        content = _folded("Tool result", code_block(message.text))
    else:
        content = f'<div class="body">{_parts(message, index, chat)}</div>'
    heading = f'<h2 class="sr-only">{label} {index + 1}</h2>'
    buttons = _buttons(role, index, last=last)
    return Safe(f'<article class="message {role}">{heading}{content}{buttons}</article>')


def reasoning_html(text: str, *, is_open: bool = False) -> Safe:
    """The model's reasoning, folded."""
    return _folded("Reasoning", _render(text), "reasoning", is_open) if text.strip() else Safe("")


def tool_calls_html(calls: Sequence[ToolCall]) -> Safe:
    """The tools that the model calls, with their arguments."""
    return Safe(
        "".join(
            _folded(
                f"Tool call: {call.function.name}",
                code_block(_indented(call.function.arguments), "json"),
            )
            for call in calls
        )
    )


def button(act: str, index: int | str, icon: str, label: str) -> Safe:
    """A button with an icon. Its click reaches the page as `(act, index)`."""
    return Safe(
        f'<button type="button" class="act" data-act="{act}" data-i="{escape(str(index))}" '
        f'title="{escape(label)}" aria-label="{escape(label)}">'
        f'<i class="material-icons" aria-hidden="true">{icon}</i></button>'
    )


def image_of(part: ChatMessageContent | str) -> str:
    """The URL of a part that is an image, "" if it is none."""
    return "" if isinstance(part, str) or part.image_url is None else part.image_url.url


def _buttons(role: str, index: int, *, last: bool) -> str:
    number = index + 1
    shown = [button("copy", index, "content_copy", f"Copy message {number}")]
    if role != "tool":
        shown.append(button("edit", index, "edit", f"Edit message {number}"))
    if role == "assistant":
        shown.append(button("fork", index, "call_split", f"New chat from message {number}"))
    if last and role == "assistant":
        shown.append(button("regenerate", index, "refresh", "Regenerate the answer"))
    return f'<div class="acts">{"".join(shown)}</div>'


def _parts(message: ChatMessage, index: int, chat: str) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return plain(content or "")
    shown = []
    for i, part in enumerate(content):
        url = image_of(part)
        if url.startswith("data:"):
            source = f"/chat/{quote(chat)}/images/{index}/{i}"
            shown.append(f'<img src="{source}" alt="Attached image {i + 1}" loading="lazy">')
        elif url:
            shown.append(
                f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">'
                f"Image: {escape(url[:100])}</a>"
            )
        else:
            text = part if isinstance(part, str) else part.text or ""
            shown.append(f"<div>{plain(text)}</div>")
    return "".join(shown)


def _folded(title: str, content: str, kind: str = "", is_open: bool = False) -> Safe:
    state = " open" if is_open else ""
    return Safe(
        f'<details class="folded {kind}"{state}><summary>{escape(title)}</summary>'
        f"<div>{content}</div></details>"
    )


def _indented(text: str) -> str:
    """JSON with line ends and indentation; other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
