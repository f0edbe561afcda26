"""The `llm` command, with models of a TabbyAPI server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from support.replay import ReplayServer, Reply, json_reply

llm = pytest.importorskip("llm")

if TYPE_CHECKING:
    from tabbyapi import LocalServer

Llm: TypeAlias = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """`llm` with a folder of its own: run(url, key, argument...)."""

    def run(url: str, key: str, *arguments: str, stdin: str = "") -> str:
        result = subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env={
                **os.environ,
                "LLM_USER_PATH": str(tmp_path / "llm"),
                "TABBY_API_ENDPOINT": url,
                "TABBY_API_KEY": key,
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture
def local(run: Callable[..., str], local_server: LocalServer) -> Llm:
    return lambda *arguments, **options: run(
        local_server.url, local_server.api_key, *arguments, **options
    )


def answer(content: str | None, calls: list[dict[str, Any]] | None = None) -> Reply:
    message = {"role": "assistant", "content": content, "tool_calls": calls}
    finish = "tool_calls" if calls else "stop"
    return json_reply(
        200,
        {
            "id": "cmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
    )


def scripted(*answers: Reply) -> list[Callable[[Any], Reply]]:
    """These to chats, the last one for ever; an empty list to the listing of models."""
    left = list(answers)

    def reply(request: Any) -> Reply:
        if "chat" not in request.target:
            return json_reply(200, {"object": "list", "data": []})
        return left.pop(0) if len(left) > 1 else left[0]

    return [reply]


def test_the_models_of_the_server_are_listed(local: Llm, local_server: LocalServer) -> None:
    listed = local("models")
    assert "Tabby: tabby\n" in listed
    with local_server.client() as client:
        assert f"tabby/{client.models.get().id}" in listed


def test_a_server_that_is_gone_lists_no_model_and_breaks_nothing(run: Callable[..., str]) -> None:
    assert "Tabby: tabby\n" in run("http://127.0.0.1:9", "", "models")


@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_a_prompt_is_answered_and_logged_with_its_tokens(local: Llm, how: tuple[str]) -> None:
    said = local("-m", "tabby", "Hello", "-o", "max_tokens", "5", "-o", "temperature", "0", *how)
    assert said.strip()
    (logged,) = json.loads(local("logs", "--json"))
    assert logged["prompt"] == "Hello"
    assert logged["response"].strip() == said.strip()
    assert logged["input_tokens"] > 0
    assert logged["output_tokens"] == 5


def test_a_conversation_goes_on(run: Callable[..., str]) -> None:
    with ReplayServer(scripted(answer("Paris"))) as server:
        run(server.url, "k", "-m", "tabby", "--no-stream", "The capital of France?", "-s", "Brief.")
        run(server.url, "k", "-c", "--no-stream", "And of Italy?")
        sent = json.loads(chats(server)[-1].body)["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("system", "Brief."),
        ("user", "The capital of France?"),
        ("assistant", "Paris"),
        ("user", "And of Italy?"),
    ]


def test_a_schema_constrains_the_answer(local: Llm) -> None:
    said = local("-m", "tabby", "A dog", "--schema", '{"type": "integer"}', "-o", "max_tokens", "9")
    assert isinstance(json.loads(said), int)


def test_tools_are_called_and_their_results_sent(run: Callable[..., str]) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "index": 0,
        "function": {"name": "llm_version", "arguments": "{}"},
    }
    with ReplayServer(scripted(answer(None, [call]), answer("It is new."))) as server:
        said = run(
            server.url, "k", "-m", "tabby", "-T", "llm_version", "--no-stream", "Which version?"
        )
        asked, told = (json.loads(request.body) for request in chats(server))
    assert said.strip() == "It is new."
    assert asked["tools"][0]["function"]["name"] == "llm_version"
    assert told["messages"][-2]["tool_calls"][0]["id"] == "call_1"
    assert told["messages"][-1]["role"] == "tool"
    assert told["messages"][-1]["tool_call_id"] == "call_1"
    assert told["messages"][-1]["content"]


def test_a_picture_is_sent(run: Callable[..., str], tmp_path: Path) -> None:
    picture = tmp_path / "dot.gif"
    picture.write_bytes(
        b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    )
    with ReplayServer(scripted(answer("A dot."))) as server:
        run(server.url, "k", "-m", "tabby", "--no-stream", "What is it?", "-a", str(picture))
        (content,) = (json.loads(chats(server)[-1].body)["messages"][0]["content"],)
    assert content[1]["image_url"]["url"].startswith("data:image/gif;base64,")


def test_texts_are_embedded(local: Llm) -> None:
    vector = json.loads(local("embed", "-m", "tabby-embedding", "-c", "Hello"))
    assert len(vector) > 8
    assert all(isinstance(number, float) for number in vector)


def test_a_chat_at_the_terminal(local: Llm) -> None:
    assert "Chatting with tabby" in local(
        "chat", "-m", "tabby", "-o", "max_tokens", "3", stdin="Hello\nexit\n"
    )


def chats(server: ReplayServer) -> list[Any]:
    return [request for request in server.requests if "chat" in request.target]
