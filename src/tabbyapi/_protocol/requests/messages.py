"""Checks of messages, and their form on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...errors import ValidationError
from ...types.messages import (
    ChatImageURL,
    ChatMessage,
    ChatMessageContent,
    ToolCall,
)
from ...types.rules import refuse
from ..call import UNSENDABLE, json_problem

__all__ = ["encode_message", "has_images", "wire_messages"]

_encode = msgspec.json.Encoder().encode


def wire_messages(messages: Any, field: str = "messages") -> list[Any]:
    """The messages as they are sent: checked, without nulls.

    An item may also be `msgspec.Raw`, a message encoded before by `encode_message`; it is
    passed on as it is, so that a long history is not checked and encoded at every turn.

    Raises:
        ValidationError: naming the message and the part, e.g. `messages[2].content[0].text`.
    """
    if isinstance(messages, str | bytes | Mapping | ChatMessage) or not isinstance(
        messages, Sequence
    ):
        raise refuse(field, messages, "a list of messages, e.g. [user('Hello')]")
    if not messages:
        raise ValidationError(
            f"{field} is empty: give at least one message, e.g. [user('Hello')]", field=field
        )
    return [
        item if _is_plain(item) else _message(item, f"{field}[{i}]")
        for i, item in enumerate(messages)
    ]


def encode_message(message: ChatMessage | Mapping[str, Any], field: str = "message") -> msgspec.Raw:
    """A message checked and encoded once, to be sent many times.

    Raises:
        ValidationError: as `wire_messages`.
    """
    checked = _message(message, field)
    try:
        return msgspec.Raw(_encode(checked))
    except UNSENDABLE as error:  # e.g. lone surrogates
        raise ValidationError(
            f"{field} cannot be sent as JSON: {json_problem(error)}", field=field
        ) from None


def has_images(messages: list[Any]) -> bool:
    """True if one of the messages, as `wire_messages` returned them, has an image."""
    for item in messages:
        if isinstance(item, msgspec.Raw):
            found = b'"type":"image_url"' in bytes(item)
        else:
            parts = item.get("content") if isinstance(item, dict) else None
            found = isinstance(parts, list) and any(p["type"] == "image_url" for p in parts)
        if found:
            return True
    return False


def _is_plain(item: Any) -> bool:
    """True for a dict of a role and a text, which is sent as it is: by far the most messages."""
    if type(item) is not dict or len(item) != 2:
        return False
    role = item.get("role")
    return type(role) is str and role != "" and type(item.get("content")) is str


def _message(item: Any, field: str) -> Any:
    if isinstance(item, msgspec.Raw):
        return item
    if isinstance(item, ChatMessage):
        role, content = item.role, item.content
        if type(content) is str and role and isinstance(role, str) and item.tool_calls is None:
            return item  # by far the most messages
        rest: dict[str, Any] = {}
        if item.reasoning_content is not None:
            rest["reasoning_content"] = item.reasoning_content
        calls: Any = item.tool_calls
        if item.tool_call_id is not None:
            rest["tool_call_id"] = item.tool_call_id
    elif isinstance(item, Mapping):
        rest = {name: value for name, value in item.items() if value is not None}
        role = rest.pop("role", "user" if "role" not in item else None)
        content = rest.pop("content", None)
        calls = rest.pop("tool_calls", None)
        for name in ("reasoning_content", "tool_call_id"):
            if not isinstance(rest.get(name, ""), str):
                raise refuse(f"{field}.{name}", rest[name], "a string")
    else:
        raise refuse(field, item, "a ChatMessage, a dict, or made by user(), system() and so on")

    if not isinstance(role, str) or not role:
        raise refuse(
            f"{field}.role",
            role,
            "system, user, assistant, tool, or another name that the chat template knows",
        )
    out: dict[str, Any] = {"role": str(role)}
    if content is not None:
        out["content"] = _content(content, f"{field}.content")
    elif not calls and "reasoning_content" not in rest and role != "assistant":
        raise ValidationError(f"{field} has no content", field=f"{field}.content")
    if calls:
        out["tool_calls"] = _tool_calls(calls, f"{field}.tool_calls")
    out.update(rest)
    return out


def _content(content: Any, field: str) -> Any:
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping | ChatMessageContent | bytes) or not isinstance(
        content, Sequence
    ):
        raise refuse(field, content, "a string or a list of parts")
    if not content:
        raise ValidationError(f"{field} is an empty list: give a string or parts", field=field)
    return [_part(part, f"{field}[{i}]") for i, part in enumerate(content)]


def _part(part: Any, field: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, ChatMessageContent):
        kind, text, image = part.type, part.text, part.image_url
    elif isinstance(part, Mapping):
        kind, text, image = part.get("type", "text"), part.get("text"), part.get("image_url")
    else:
        raise refuse(field, part, "a string, a text part or image(...)")
    if kind == "text":
        if not isinstance(text, str):
            raise ValidationError(f"{field} is a text part without text", field=f"{field}.text")
        return {"type": "text", "text": text}
    if kind == "image_url":
        url = image.url if isinstance(image, ChatImageURL) else image
        if isinstance(url, Mapping):
            url = url.get("url")
        return {"type": "image_url", "image_url": {"url": _image_url(url, f"{field}.image_url")}}
    raise refuse(f"{field}.type", kind, '"text" or "image_url"')


def _image_url(url: Any, field: str) -> Any:
    if not isinstance(url, str) or not url:
        raise ValidationError(
            f"{field} must hold the image's address: image(path_or_url) makes one", field=field
        )
    url = "".join(url.split()) if url[:5].lower() == "data:" else url  # line breaks in base64
    head = url[:32].lower()
    if head.startswith(("http://", "https://")):
        return url
    if not head.startswith("data:"):
        raise refuse(
            field, url, "an http(s) URL or a data: URL; image(path) makes one of a local file"
        )
    if not head.startswith("data:image/") or ";base64," not in url[:64]:
        raise refuse(field, url[:64], "a data URL of the form data:image/png;base64,...")
    if not url[len("data:image/") : url.index(";base64,")].isalnum():
        raise refuse(field, url[:64], "of a plain image type such as png, jpeg or webp")
    return url


def _tool_calls(calls: Any, field: str) -> list[Any]:
    if isinstance(calls, str | Mapping) or not isinstance(calls, Sequence):
        raise refuse(field, calls, "a list of tool calls")
    return [_tool_call(call, f"{field}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: Any, field: str) -> Any:
    if isinstance(call, ToolCall):
        if not call.function.name:
            raise ValidationError(f"{field} names no function", field=f"{field}.function.name")
        return call
    if not isinstance(call, Mapping):
        raise refuse(field, call, "a ToolCall or a dict")
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValidationError(f"{field} names no function", field=f"{field}.function")
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):  # the server takes JSON text only
        arguments = _encode(arguments).decode()
    out = {name: value for name, value in call.items() if value is not None}
    out.setdefault("type", "function")
    out["function"] = {"name": function["name"], "arguments": arguments}
    return out
