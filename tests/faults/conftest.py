"""One fault, both clients: `twin` does the same with `Client` and with `AsyncClient`."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

import tabbyapi
from tabbyapi import user

KEY = "secret-key-of-the-tests"


@dataclass
class Outcome:
    """What a caller saw of a stream."""

    texts: list[str] = field(default_factory=list)
    response: Any = None
    error: tabbyapi.TabbyError | None = None


class Twin(Protocol):
    def create(self, url: str, times: int = 1, text: str = "Hello", **client: Any) -> Any:
        """The last answer of so many requests by one client."""
        ...

    def create_all(self, url: str, texts: list[str], **client: Any) -> list[Any]:
        """The answers to these, or their errors, asked one after the other by one client."""
        ...

    def stream(self, url: str, times: int = 1, **client: Any) -> Outcome:
        """What the last of so many streams by one client gave."""
        ...


class SyncTwin:
    def create(self, url: str, times: int = 1, text: str = "Hello", **client: Any) -> Any:
        with tabbyapi.Client(url, api_key=KEY, **client) as it:
            for _ in range(times):
                reply = it.chat.create([user(text)])
            return reply

    def create_all(self, url: str, texts: list[str], **client: Any) -> list[Any]:
        replies: list[Any] = []
        with tabbyapi.Client(url, api_key=KEY, **client) as it:
            for text in texts:
                try:
                    replies.append(it.chat.create([user(text)]))
                except tabbyapi.TabbyError as error:
                    replies.append(error)
        return replies

    def stream(self, url: str, times: int = 1, **client: Any) -> Outcome:
        with tabbyapi.Client(url, api_key=KEY, **client) as it:
            for _ in range(times):
                outcome = Outcome()
                try:
                    with it.chat.create_stream([user("Hello")]) as stream:
                        for chunk in stream:
                            outcome.texts.append(chunk.text)
                        outcome.response = stream.response
                except tabbyapi.TabbyError as error:
                    outcome.error = error
            return outcome


class AsyncTwin:
    def create(self, url: str, times: int = 1, text: str = "Hello", **client: Any) -> Any:
        async def run() -> Any:
            async with tabbyapi.AsyncClient(url, api_key=KEY, **client) as it:
                for _ in range(times):
                    reply = await it.chat.create([user(text)])
                return reply

        return _run(run())

    def create_all(self, url: str, texts: list[str], **client: Any) -> list[Any]:
        async def run() -> list[Any]:
            replies: list[Any] = []
            async with tabbyapi.AsyncClient(url, api_key=KEY, **client) as it:
                for text in texts:
                    try:
                        replies.append(await it.chat.create([user(text)]))
                    except tabbyapi.TabbyError as error:
                        replies.append(error)
            return replies

        result: list[Any] = _run(run())
        return result

    def stream(self, url: str, times: int = 1, **client: Any) -> Outcome:
        async def run() -> Outcome:
            async with tabbyapi.AsyncClient(url, api_key=KEY, **client) as it:
                for _ in range(times):
                    outcome = Outcome()
                    try:
                        async with it.chat.create_stream([user("Hello")]) as stream:
                            async for chunk in stream:
                                outcome.texts.append(chunk.text)
                            outcome.response = stream.response
                    except tabbyapi.TabbyError as error:
                        outcome.error = error
                return outcome

        return _run(run())


def _run(main: Any) -> Any:
    """`asyncio.run`, and no task may be left when the client is closed."""

    async def watched() -> Any:
        try:
            return await main
        finally:
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"

    return asyncio.run(watched())


@pytest.fixture(params=[SyncTwin, AsyncTwin], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> Twin:
    made: Twin = request.param()
    return made


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Leave what was there before out of garbage collections: a whole suite's heap takes long."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No socket and no thread outlives a test."""
    gc.collect()
    before = _descriptors()
    threads = threading.active_count()
    yield
    gc.collect()
    assert _descriptors() <= before, "descriptors were left open"
    assert threading.active_count() <= threads, "threads were left running"


def _descriptors() -> int:
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0
