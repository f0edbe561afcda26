"""The tool loop of either client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tabbyapi
from support.replay import ReplayServer
from tabbyapi import user
from tabbyapi.tools import ToolRun

from .scripted import Run


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
