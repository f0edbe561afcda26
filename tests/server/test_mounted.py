"""The application inside of other applications: Starlette's test client, and a mount."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tabbyapi.server.app import build_app
from tabbyapi.server.auth import Keys
from tabbyapi.server.settings import Settings

from .conftest import CHAT, HELLO, data_events

pytest.importorskip("httpx")
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def mounted(random_model: Path) -> Iterator[TestClient]:
    inner = build_app(Settings(model=random_model, threads=1, n_ctx=1024), Keys(enabled=False))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await inner.state.runtime.start()
        try:
            yield
        finally:
            await inner.state.runtime.close()

    outer = Starlette(routes=[Mount("/llm", inner)], lifespan=lifespan)
    with TestClient(outer, base_url="http://127.0.0.1") as client:
        yield client


def test_a_mounted_server_answers_whole(mounted: TestClient) -> None:
    body = {"messages": HELLO, "max_tokens": 5}
    answer = mounted.post(f"/llm{CHAT}", json=body)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 5


def test_a_mounted_server_answers_in_a_stream(mounted: TestClient) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "stream": True}
    events = data_events(mounted.post(f"/llm{CHAT}", json=body).content)
    assert events[-1] == "[DONE]"
    assert len(events) > 2


def test_the_lifespan_loads_the_model_and_ends_the_engine(random_model: Path) -> None:
    app = build_app(Settings(model=random_model, threads=1, n_ctx=1024), Keys(enabled=False))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post(CHAT, json={"messages": HELLO, "max_tokens": 2})
        assert answer.json()["usage"]["completion_tokens"] == 2
