"""Long conversations with the local server and its real engine.

The model's tokens are bytes and its words are noise: the worst case for every estimate.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

import tabbyapi
from tabbyapi._transport.base import Answer, Request
from tabbyapi._transport.connect import Route
from tabbyapi._transport.sync import SocketTransport
from tabbyapi.local_server import LocalServer

CONTEXT = 2048
CHAT = "/v1/chat/completions"
SYSTEM = "You know everything about the elements."


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LocalServer]:
    with LocalServer(model=tiny_model, n_ctx=CONTEXT) as server:
        yield server


class Watched:
    """A transport that remembers what it sent."""

    def __init__(self, url: str) -> None:
        self._inner = SocketTransport(Route(url))
        self.paths: list[str] = []
        self.chats: list[list[dict[str, Any]]] = []

    def _note(self, request: Request) -> None:
        path = request.url[request.url.index("/", 8) :]
        self.paths.append(path)
        if path == CHAT:
            self.chats.append(json.loads(request.body or b"")["messages"])

    def send(self, request: Request) -> Answer:
        self._note(request)
        return self._inner.send(request)

    def open(self, request: Request) -> Any:
        self._note(request)
        return self._inner.open(request)

    def close(self) -> None:
        self._inner.close()


def question(number: int) -> str:
    return f"And what about number {number}? " + "Tell me more. " * (number % 5)


def test_two_hundred_turns_stay_within_2048_tokens_one_request_each(server: LocalServer) -> None:
    watched = Watched(server.url)
    with server.client(transport=watched, retry=0) as client:
        talk = client.conversation(SYSTEM, max_tokens=16, temperature=1)
        for number in range(200):
            made = len(watched.paths)
            if number % 2:
                reply = talk.send(question(number))
            else:
                with talk.stream(question(number)) as stream:
                    reply = stream.until_done()
            assert reply.usage is not None
            assert reply.usage.prompt_tokens + 16 <= CONTEXT
            extra = [path for path in watched.paths[made:] if path != CHAT]
            assert len(watched.paths) - made - len(extra) == 1
            assert extra in ([], ["/v1/model"])
            sent = watched.chats[-1]
            assert sent[0] == {"role": "system", "content": SYSTEM}
            assert sent[-1] == {"role": "user", "content": question(number)}
        assert watched.paths.count("/v1/model") == 1
        assert len(talk.messages) == 401
        assert talk.tokens.context == CONTEXT


def test_a_long_conversation_goes_on_with_summaries(server: LocalServer) -> None:
    watched = Watched(server.url)
    with server.client(transport=watched, retry=0) as client:
        talk = client.conversation(SYSTEM, on_overflow="summarize", max_tokens=16)
        for number in range(40):
            talk.send(question(number))
        summaries = [chat for chat in watched.chats if chat[-1]["content"].startswith("Summarize")]
        assert 1 <= len(summaries) <= 12
        assert len(watched.chats) == 40 + len(summaries)
        assert all(chat[0]["content"].startswith(SYSTEM) for chat in watched.chats)
        assert talk.summary in watched.chats[-1][0]["content"]


def test_many_async_conversations_share_a_server(local_server: LocalServer) -> None:
    async def one(client: tabbyapi.AsyncClient, name: str) -> Any:
        talk = client.conversation(f"You are {name}.", max_tokens=16)
        for number in range(12):
            await talk.send(f"{name}, {question(number)}")
        return talk

    async def run() -> list[Any]:
        async with local_server.async_client(retry=0) as client:
            return await asyncio.gather(*(one(client, name) for name in ("Ann", "Bob", "Cem")))

    for talk, name in zip(asyncio.run(run()), ("Ann", "Bob", "Cem"), strict=True):
        assert len(talk.messages) == 25
        assert all(m.text.startswith(name) for m in talk.messages if m.role == "user")


def test_a_message_longer_than_the_context_is_refused_with_figures(server: LocalServer) -> None:
    with server.client() as client:
        talk = client.conversation(SYSTEM, max_tokens=16)
        with pytest.raises(tabbyapi.ContextLengthError, match="2,048"):
            talk.send("word " * 2000)
        assert talk.send("Hello.").text is not None
