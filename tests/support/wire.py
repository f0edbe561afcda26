"""Comparing typed answers with the JSON they came from."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["assembled", "wire", "without_nulls"]


def without_nulls(value: Any) -> Any:
    """`value` without the keys whose value is null: absent and null mean the same to a client."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def wire(typed: Any) -> Any:
    """A typed value as the JSON it stands for, without nulls and without usage that is none."""
    value = without_nulls(msgspec.to_builtins(typed))
    if isinstance(value, dict) and not getattr(typed, "usage", True):
        value.pop("usage", None)
    return value


def assembled(events: list[Any]) -> Any:
    """What the chunks of a chat stream add up to, as JSON without nulls."""
    chunks = [event for event in events if "error" not in event]
    if not chunks:
        return None
    choices: dict[int, dict[str, Any]] = {}
    for part in (choice for chunk in chunks for choice in chunk["choices"]):
        choice = choices.setdefault(part["index"], {"index": part["index"], "message": {}})
        message = choice["message"]
        for name in ("content", "reasoning_content"):
            if part["delta"].get(name):
                message[name] = message.get(name, "") + part["delta"][name]
        if part["delta"].get("tool_calls"):
            message["tool_calls"] = message.get("tool_calls", []) + part["delta"]["tool_calls"]
        for name in ("finish_reason", "eos_reason"):
            if part.get(name):
                choice[name] = part[name]
        if part.get("logprobs"):
            logprobs = choice.setdefault("logprobs", {"content": []})
            logprobs["content"] += part["logprobs"]["content"]
    for choice in choices.values():
        choice["message"]["role"] = "assistant"
    response = {
        "id": chunks[0]["id"],
        "object": "chat.completion",
        "created": chunks[0]["created"],
        "model": chunks[-1]["model"],
        "choices": [choices[index] for index in sorted(choices)],
    }
    usage = [chunk["usage"] for chunk in chunks if "usage" in chunk]
    return without_nulls({**response, "usage": usage[-1]} if usage else response)
