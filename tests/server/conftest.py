"""A real server over a real engine, with a model of random weights made on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

from support.tiny_model import write_markov, write_random
from tabbyapi.local_server import LocalServer

API, ADMIN = "test-api-key", "test-admin-key"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Say hello."}]


@dataclass
class Raw:
    """Plain HTTP to a server, as any client could speak it."""

    server: LocalServer
    pool: urllib3.PoolManager

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        if headers is None:
            headers = {"X-Api-Key": API, "Content-Type": "application/json"}
        data = raw if body is None else json.dumps(body).encode()
        return self.pool.request(
            method,
            self.server.url + path,
            body=data,
            headers=headers,
            retries=False,
            redirect=False,
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=5, read=60),
        )

    def chat(self, messages: Any = None, **fields: Any) -> Any:
        """One whole chat answer, as JSON; it must be a 200."""
        answer = self("POST", CHAT, {"messages": messages or HELLO, "max_tokens": 8} | fields)
        assert answer.status == 200, answer.data
        return answer.json()

    def events(self, messages: Any = None, **fields: Any) -> list[Any]:
        """The data events of a streamed chat, decoded; "[DONE]" as the string it is."""
        body = {"messages": messages or HELLO, "max_tokens": 8, "stream": True} | fields
        return data_events(self("POST", CHAT, body).data)


def data_events(body: bytes) -> list[Any]:
    """Decode the data events of a stream's body."""
    payloads = [
        event.removeprefix(b"data: ")
        for event in body.split(b"\r\n\r\n")
        if event.startswith(b"data: ")
    ]
    return [p.decode() if p == b"[DONE]" else json.loads(p) for p in payloads]


def text_of(events: list[Any], index: int = 0) -> str:
    """The content of one choice of a stream."""
    choices = [event["choices"][0] for event in events if isinstance(event, dict)]
    return "".join(c["delta"].get("content", "") for c in choices if c["index"] == index)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights: it babbles ASCII and hardly ever stops."""
    return write_random(tmp_path_factory.mktemp("models") / "random-tiny.gguf")


@pytest.fixture(scope="session")
def server(random_model: Path) -> Iterator[LocalServer]:
    with LocalServer(random_model, api_keys=(API,), admin_key=ADMIN, threads=1) as running:
        yield running


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with a model that says one sentence and stops."""
    model = write_markov(tmp_path_factory.mktemp("models") / "sentence.gguf")
    with LocalServer(model, api_keys=(API,), admin_key=ADMIN, threads=1) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Iterator[Raw]:
    with urllib3.PoolManager(maxsize=16) as pool:
        yield Raw(server, pool)


@pytest.fixture
def scripted_http(scripted: LocalServer) -> Iterator[Raw]:
    with urllib3.PoolManager() as pool:
        yield Raw(scripted, pool)
