"""One way to talk to a server, through the sync client and through the async one.

A test asks for the fixture `talk` and runs twice. `talk(url, asks, **settings)` makes a client
with these settings, asks one question after the other, and returns what came of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import tabbyapi

__all__ = ["HELLO", "KEY", "Ask", "Outcome", "Talk", "talk_async", "talk_sync"]

KEY = "a-key-that-must-show-nowhere"


@dataclass(frozen=True)
class Ask:
    """A call of `client.chat`: `create`, or `create_stream` if `stream`."""

    messages: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False


HELLO = Ask([{"role": "user", "content": "Say hello."}])


@dataclass
class Outcome:
    """What a caller gets: the chunks and the response, or the error, or (a stream) both."""

    response: Any = None
    chunks: list[Any] = field(default_factory=list)
    error: tabbyapi.TabbyError | None = None


class Talk(Protocol):
    def __call__(self, url: str, asks: Sequence[Ask], **settings: Any) -> list[Outcome]: ...


def talk_sync(url: str, asks: Sequence[Ask], **settings: Any) -> list[Outcome]:
    with tabbyapi.Client(url, **{"api_key": KEY, **settings}) as client:
        return [_ask(client, ask) for ask in asks]


def talk_async(url: str, asks: Sequence[Ask], **settings: Any) -> list[Outcome]:
    async def talk() -> list[Outcome]:
        async with tabbyapi.AsyncClient(url, **{"api_key": KEY, **settings}) as client:
            return [await _ask_async(client, ask) for ask in asks]

    return asyncio.run(talk())


def _ask(client: tabbyapi.Client, ask: Ask) -> Outcome:
    outcome = Outcome()
    try:
        if not ask.stream:
            outcome.response = client.chat.create(ask.messages, **ask.params)
        else:
            with client.chat.create_stream(ask.messages, **ask.params) as stream:
                try:
                    for chunk in stream:
                        outcome.chunks.append(chunk)
                finally:
                    outcome.response = stream.response if outcome.chunks else None
    except tabbyapi.TabbyError as error:
        outcome.error = error
    return outcome


async def _ask_async(client: tabbyapi.AsyncClient, ask: Ask) -> Outcome:
    outcome = Outcome()
    try:
        if not ask.stream:
            outcome.response = await client.chat.create(ask.messages, **ask.params)
        else:
            async with client.chat.create_stream(ask.messages, **ask.params) as stream:
                try:
                    async for chunk in stream:
                        outcome.chunks.append(chunk)
                finally:
                    outcome.response = stream.response if outcome.chunks else None
    except tabbyapi.TabbyError as error:
        outcome.error = error
    return outcome
