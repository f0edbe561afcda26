"""Chats in the page's process: when they are kept, and when they are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")

import tabbyapi
from support.replay import ReplayServer
from tabbyapi.cli import sessions
from tabbyapi.web.chats import Chats
from web.scripted import script


class Tab:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.changes = 0
        self.growths = 0

    def changed(self) -> None:
        self.changes += 1

    def grew(self) -> None:
        self.growths += 1


async def look() -> None:
    """There is nothing to look at."""


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen within 20 seconds")


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread: in this one, the loop of a browser's tests may still be running."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result(timeout=60)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sessions, "data_folder", lambda: tmp_path)
    return tmp_path / "sessions"


def test_a_chat_is_kept_while_a_tab_shows_it_or_an_answer_runs(folder: Path) -> None:
    async def run(url: str) -> None:
        async with tabbyapi.AsyncClient(url, api_key="a-key") as client:
            chats, tab = Chats(client, look), Tab()
            chat = await chats.open("one")
            chat.watch(tab)
            assert await chats.open("one") is chat
            assert await chats.peek("one") is chat
            chat.send("count 5")
            chat.unwatch(tab)
            assert await chats.open("one") is chat  # the answer goes on
            await until(lambda: chat.idle)
            assert (folder / "one.json").exists()
            again = await chats.peek("one")
            assert again is not chat
            assert [m.text.strip() for m in again.messages] == ["count 5", "1 2 3 4 5"]
            assert await chats.peek("one") is not again
            await chats.close()

    with ReplayServer([script]) as server:
        run_apart(run(server.url))


def test_stopping_keeps_what_has_arrived_and_closing_saves_it(folder: Path) -> None:
    async def run(url: str) -> None:
        async with tabbyapi.AsyncClient(url, api_key="a-key") as client:
            chats, tab = Chats(client, look), Tab()
            chat = await chats.open("two")
            chat.watch(tab)
            chat.send("hang")
            await until(lambda: tab.growths > 0)
            await chats.close()
            assert chat.idle
            assert (await Chats(client, look).open("two")).messages[-1].text == "It begins"

    with ReplayServer([script]) as server:
        run_apart(run(server.url))


def test_a_broken_file_is_told_and_left_alone(folder: Path) -> None:
    async def run() -> None:
        async with tabbyapi.AsyncClient("http://127.0.0.1:9", api_key="a-key") as client:
            with pytest.raises(tabbyapi.ValidationError):
                await Chats(client, look).open("broken")

    folder.mkdir()
    (folder / "broken.json").write_text("{")
    run_apart(run())
    assert (folder / "broken.json").read_text() == "{"
