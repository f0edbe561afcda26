"""The configuration of docs/guides/scale.md under HAProxy itself."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabbyapi import Client, user

from .scripted import Backend

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "scale.md"
HAPROXY = shutil.which("haproxy")

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    made = [Backend("server 0"), Backend("server 1")]
    yield made
    for backend in made:
        backend.listener.stop()


@pytest.fixture
def client(backends: list[Backend], tmp_path: Path) -> Iterator[Client]:
    found = re.search(r"```text\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    assert found is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = found[1].replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    for number, backend in enumerate(backends, start=5001):
        text = text.replace(f"127.0.0.1:{number}", f"127.0.0.1:{backend.listener.port}")
    (tmp_path / "haproxy.cfg").write_text(text)
    assert HAPROXY is not None
    process = subprocess.Popen([HAPROXY, "-db", "-f", tmp_path / "haproxy.cfg"])
    try:
        with Client(f"http://127.0.0.1:{port}", retry=5, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def ask(client: Client, session: str) -> str:
    return client.chat.create([user("Hello")], extra_headers={"x-session-id": session}).text


def test_sessions_keep_their_server_and_move_when_it_is_lost(
    client: Client, backends: list[Backend]
) -> None:
    first = {session: ask(client, session) for session in map(str, range(20))}
    assert set(first.values()) == {"server 0", "server 1"}
    assert {session: ask(client, session) for session in first} == first
    backends[0].listener.stop()
    assert {ask(client, session) for session in first} == {"server 1"}


def test_the_first_event_of_a_stream_is_not_held_back(
    client: Client, backends: list[Backend]
) -> None:
    for backend in backends:
        backend.script = "endless"
    start = time.monotonic()
    with client.chat.create_stream([user("Hello")]) as chunks:
        next(iter(chunks))
        assert time.monotonic() - start < 15
