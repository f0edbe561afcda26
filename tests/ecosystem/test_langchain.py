"""LangChain's own standard suites, over a scripted server whose answers obey the request.

Run with `make clients`: the suites bring many packages along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from support.replay import ReplayServer, Reply, Request, json_reply
from tabbyapi.langchain import ChatTabby

pytestmark = pytest.mark.clients

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def example(schema: dict[str, Any]) -> Any:
    """A value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    kinds: dict[str, Any] = {
        "string": "San Francisco, 你好, こんにちは",
        "integer": 3,
        "number": 3.5,
        "array": [],
    }
    if schema.get("type") in kinds:
        return kinds[schema["type"]]
    properties = schema.get("properties", {})
    return {name: example(properties[name]) for name in schema.get("required", ())}


def asks_for_a_call(body: dict[str, Any]) -> bool:
    """True if the request forces a call, or asks a question that a tool was made for."""
    if not body.get("tools") or body["messages"][-1]["role"] == "tool":
        return False
    question = str(body["messages"][-1]["content"]).lower()
    return body.get("tool_choice") not in (None, "none", "auto") or "weather" in question


def answer(request: Request) -> Reply:
    """What a capable model would answer: the call, the object or the text that is asked for."""
    body = json.loads(request.body)
    message: dict[str, Any] = {"role": "assistant", "content": "Hello, I am here."}
    finish = "stop"
    if asks_for_a_call(body):
        choice = body.get("tool_choice")
        wanted = choice["function"]["name"] if isinstance(choice, dict) else None
        tools = [tool["function"] for tool in body["tools"]]
        tool = next((tool for tool in tools if tool["name"] == wanted), tools[0])
        function = {"name": tool["name"], "arguments": json.dumps(example(tool["parameters"]))}
        call = {"id": "call_1", "type": "function", "index": 0, "function": function}
        message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    elif "json_schema" in body:
        message["content"] = json.dumps(example(body["json_schema"]))
    elif body.get("response_format", {}).get("type") in ("json", "json_object"):
        message["content"] = json.dumps({"setup": "Why?", "punchline": "Because."})
    common = {"id": "cmpl-1", "created": 1, "model": body.get("model") or "scripted"}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        whole = {**common, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        return json_reply(200, whole)
    text = message.pop("content") or ""
    deltas: list[tuple[dict[str, Any], str | None]] = [({"content": word}, None) for word in text]
    deltas.append((message, finish))
    events = [
        {
            **common,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
            **({"usage": USAGE} if end else {}),
        }
        for delta, end in deltas
    ]
    lines = [b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events]
    return Reply([HEAD, *lines, b"data: [DONE]\r\n\r\n"], then="close")


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[ReplayServer]:
    with ReplayServer([answer]) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABBY_API_ENDPOINT", running.url)
        patch.setenv("TABBY_API_KEY", "test-api-key")
        yield running


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatTabby]:
        return ChatTabby

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "default"}


class TestIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatTabby]:
        return ChatTabby

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0}

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True
