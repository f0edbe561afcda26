"""The tool loop of either client, answers decided beforehand, and the tools that they call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

import tabbyapi
from support.replay import ReplayServer, Reply, json_reply
from tabbyapi import user
from tabbyapi.tools import ToolRun

__all__ = ["Run", "answer", "broken", "lookup", "run", "sent", "tide", "weather"]

Run: TypeAlias = Callable[..., ToolRun]
"""`chat.run` of either client: run(server, tools=[...])."""


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """`chat.run` of either client: run(server, tools=[...])."""

    def sync(server: ReplayServer, messages: Any = None, **params: Any) -> ToolRun:
        with tabbyapi.Client(server.url) as client:
            return client.chat.run(messages or [user("Weather?")], **params)

    async def asynchronous(server: ReplayServer, messages: Any = None, **params: Any) -> ToolRun:
        async with tabbyapi.AsyncClient(server.url) as client:
            return await client.chat.run(messages or [user("Weather?")], **params)

    if request.param == "sync":
        return sync
    return lambda *args, **params: asyncio.run(asynchronous(*args, **params))


def answer(
    content: str | None = None,
    *calls: tuple[str, str],
    finish: str | None = None,
    eos: str = "stop_token",
    ids: bool = True,
) -> Reply:
    """An answer as TabbyAPI sends it; calls are names with their arguments as JSON."""
    tool_calls = [
        {
            **({"id": f"call_{i}"} if ids else {}),
            "type": "function",
            "index": i,
            "function": {"name": name, "arguments": arguments},
        }
        for i, (name, arguments) in enumerate(calls)
    ]
    message = {
        "role": "assistant",
        "content": content,
        "reasoning_content": None,
        "tool_calls": tool_calls or None,
        "tool_call_id": None,
    }
    choice = {
        "index": 0,
        "finish_reason": finish or ("tool_calls" if calls else "stop"),
        "eos_reason": eos,
        "stop_str": None,
        "message": message,
        "logprobs": None,
    }
    body = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return json_reply(200, {**body, "choices": [choice], "usage": None})


def weather(city: str, days: int = 1) -> str:
    """Weather of a city."""
    return f"{city}: sun for {days}"


async def tide(city: str) -> dict[str, int]:
    """Height of the tide."""
    await asyncio.sleep(0)
    return {"cm": len(city)}


def broken(city: str) -> str:
    """Always fails."""
    raise RuntimeError(f"no line to {city}")


def sent(server: ReplayServer, request: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = server.requests[request].json["messages"]
    return messages


def lookup(name: str) -> str:
    """Look something up."""
    return name
