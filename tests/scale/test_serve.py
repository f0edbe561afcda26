"""The Serve application on a small cluster, with real engines and a tiny model."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tabbyapi import Client, StreamError, user

from .scripted import replicas

pytestmark = pytest.mark.ray


def eventually(true: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def url(cluster: None, tiny_model: Path) -> Iterator[str]:
    """Two engines of two slots each, behind Serve's proxy."""
    from ray import serve

    from tabbyapi.ray.serve import Options, run

    engine = {
        "model": str(tiny_model),
        "models_dir": str(tiny_model.parent),
        "api_keys": ["key"],
        "admin_key": "admin",
    }
    options = Options(engine=engine, replicas=2, slots=2, max_queue=300)
    yield run(options, port=free_port())
    serve.shutdown()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, api_key="key", admin_key="admin", retry=0, timeout=120) as client:
        yield client


def both_run(client: Client) -> bool:
    """Sessions reach two servers."""
    return len({served_by(client, str(session)) for session in range(8)}) == 2


def served_by(client: Client, session: str) -> str:
    import http.client
    import json
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(client.base_url).netloc, timeout=120)
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    headers = {
        "content-type": "application/json",
        "authorization": "Bearer key",
        "x-session-id": session,
    }
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()
    return answer.headers["x-served-by"]


def chat(client: Client, session: int, tokens: int = 8) -> str:
    headers = {"x-session-id": str(session)}
    with client.chat.create_stream(
        [user("Hello")], extra_headers=headers, max_tokens=tokens, min_tokens=tokens
    ) as stream:
        for _ in stream:
            pass
        return str(stream.response.choices[0].finish_reason)


def test_sessions_keep_their_engine(client: Client) -> None:
    eventually(lambda: both_run(client))
    for session in map(str, range(6)):
        assert len({served_by(client, session) for _ in range(3)}) == 1


def test_admin_requests_reach_all_engines(client: Client, tiny_model: Path) -> None:
    client.models.unload()
    with pytest.raises(Exception, match="loaded"):
        chat(client, 1)
    client.models.load(tiny_model.stem)
    assert {chat(client, session) for session in range(6)} == {"length"}


def test_a_killed_replica_loses_no_request_without_data(client: Client) -> None:
    eventually(lambda: both_run(client))
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(16) as threads:
        running = [threads.submit(chat, client, session, 40) for session in range(200)]
        eventually(lambda: sum(future.done() for future in running) > 20)
        os.kill(replicas("ServeReplica:tabbyapi:Engine")[0], signal.SIGKILL)
        killed = time.monotonic()
        for future in running:
            error = future.exception()
            outcomes["interrupted" if isinstance(error, StreamError) else repr(error)] += 1
    # Only the streams that it was writing end early: at most its slots.
    assert outcomes["None"] >= 198 - 2, outcomes
    assert set(outcomes) <= {"None", "interrupted"}, outcomes
    eventually(lambda: both_run(client))
    assert time.monotonic() - killed < 90
