"""What a type checker must know of typed answers and tools. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

import tabbyapi
from tabbyapi import ChatCompletionResponse, ChatMessage, ChatMessageContent, image, user
from tabbyapi.structured import AsyncParsedStream, Parsed, ParsedStream, read
from tabbyapi.tools import PendingCall, ToolResult, ToolRun


@dataclass
class Recipe:
    title: str


def weather(city: str) -> str:
    return city


def approve(call: PendingCall) -> bool:
    return call.name == "weather"


def note(result: ToolResult) -> None:
    print(result.content)


def sync(client: tabbyapi.Client) -> None:
    parsed = client.chat.parse([user("x")], Recipe, max_tokens=100)
    assert_type(parsed, Parsed[Recipe])
    assert_type(parsed.value, Recipe)
    assert_type(parsed.response, ChatCompletionResponse)
    assert_type(client.chat.parse([user("x")], list[Recipe]).value, list[Recipe])
    assert_type(client.chat.parse([user("x")], int).value, int)
    with client.chat.parse_stream([user("x")], Recipe) as stream:
        assert_type(stream, ParsedStream[Recipe])
        for partial in stream:
            assert_type(partial, Any)
        assert_type(stream.value, Recipe)
        assert_type(stream.parsed, Parsed[Recipe])
    run = client.chat.run([user("x")], tools=[weather], on_call=approve, on_result=note)
    assert_type(run, ToolRun)
    assert_type(run.messages, list[ChatMessage])
    assert_type(run.text, str)
    assert_type(image("cat.png"), ChatMessageContent)
    assert_type(read("{}", Recipe), Recipe)
    client.chat.create([user("x")], json_schema=Recipe, tools=[weather])
    client.chat.create([user("x")], response_format=Recipe)


async def asynchronous(client: tabbyapi.AsyncClient, messages: Sequence[ChatMessage]) -> None:
    parsed = await client.chat.parse(messages, Recipe)
    assert_type(parsed, Parsed[Recipe])
    async with client.chat.parse_stream(messages, Recipe) as stream:
        assert_type(stream, AsyncParsedStream[Recipe])
        async for partial in stream:
            assert_type(partial, Any)
        assert_type(stream.value, Recipe)
    assert_type(await client.chat.run(messages, tools=[weather], max_rounds=3), ToolRun)


def mistakes(client: tabbyapi.Client) -> None:
    client.chat.parse([user("x")], Recipe, max_token=100)  # type: ignore[call-overload]
    client.chat.run([user("x")], tools=[weather], rounds=3)  # type: ignore[call-arg]
