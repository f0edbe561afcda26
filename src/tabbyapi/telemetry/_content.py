"""Messages in the form of OpenTelemetry's GenAI conventions: roles and parts, as JSON.

The bytes of images are left out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..tools.values import content_of

__all__ = ["input_messages", "output_messages", "text_of"]


def input_messages(sent: bytes) -> str:
    """JSON of a request's messages, or of its prompt or prompts."""
    given = msgspec.json.decode(sent)
    texts = given if isinstance(given, list) else [given]
    return _json([_message(item) for item in texts])


def output_messages(result: Any) -> str:
    """JSON of the answers of a response, "" if it has none."""
    messages = []
    for choice in getattr(result, "choices", ()):
        message = getattr(choice, "message", None)
        sent = {"content": choice.text} if message is None else msgspec.to_builtins(message)
        ending = {"role": "assistant", "finish_reason": choice.finish_reason or "error"}
        messages.append({**_message(sent), **ending})
    return _json(messages) if messages else ""


def text_of(value: object) -> str:
    """A tool's result as the model is told it."""
    content = content_of(value)
    return content if isinstance(content, str) else _json([_part(part) for part in content])


def _message(sent: Any) -> dict[str, Any]:
    if not isinstance(sent, dict):
        return {"role": "user", "parts": [_part(sent)]}
    content = sent.get("content")
    parts: list[dict[str, Any]] = []
    if sent.get("reasoning_content"):
        parts.append({"type": "reasoning", "content": sent["reasoning_content"]})
    if sent.get("role") == "tool":
        parts.append(
            {"type": "tool_call_response", "id": sent.get("tool_call_id"), "response": content}
        )
    elif isinstance(content, list):
        parts += [_part(part) for part in content]
    elif content:
        parts.append(_part(content))
    for call in sent.get("tool_calls") or ():
        function = call.get("function") or {}
        called = {"name": function.get("name"), "arguments": function.get("arguments")}
        parts.append({"type": "tool_call", "id": call.get("id"), **called})
    return {"role": sent.get("role", "user"), "parts": parts}


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, msgspec.Struct):
        part = msgspec.to_builtins(part)
    if isinstance(part, str):
        return {"type": "text", "content": part}
    if isinstance(part, dict) and "image_url" in part:
        url = str((part["image_url"] or {}).get("url", ""))
        if url.startswith("data:"):
            return {"type": "image", "mime_type": url[5:].partition(";")[0]}
        return {"type": "uri", "modality": "image", "uri": url}
    if isinstance(part, dict) and "text" in part:
        return {"type": "text", "content": part["text"]}
    return {"type": "text", "content": str(part)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
