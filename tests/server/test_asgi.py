"""The application under other ASGI servers, older HTTP, and encoded bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
import uvicorn

from tabbyapi.server.app import build_app
from tabbyapi.server.auth import Keys
from tabbyapi.server.settings import Settings

from .conftest import API, CHAT, HELLO, Raw, data_events, text_of

BABBLE: dict[str, Any] = {
    "messages": HELLO,
    "temperature": 0,
    "loop_detect_window": 0,
    "max_tokens": 40,
}


@pytest.fixture(scope="module")
def plain_uvicorn(random_model: Path) -> Iterator[str]:
    """The application under uvicorn as it comes, with its other HTTP implementation."""
    app = build_app(Settings(model=random_model, threads=1, n_ctx=1024), Keys(enabled=False))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="h11", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_streams_run_under_any_asgi_server(plain_uvicorn: str) -> None:
    with urllib3.PoolManager() as pool:
        whole = pool.request("POST", plain_uvicorn + CHAT, json=BABBLE).json()
        streamed = pool.request("POST", plain_uvicorn + CHAT, json=BABBLE | {"stream": True})
    events = data_events(streamed.data)
    assert events[-1] == "[DONE]"
    assert text_of(events) == whole["choices"][0]["message"]["content"]


def exchange(http: Raw, version: str, *headers: str, **fields: Any) -> tuple[bytes, bytes]:
    """Head and body of an answer, of a connection that the server closes."""
    host, _, port = http.server.url.removeprefix("http://").partition(":")
    body = json.dumps(BABBLE | fields).encode()
    lines = [f"POST {CHAT} HTTP/{version}", "Host: x", f"X-Api-Key: {API}", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    with closing(socket.create_connection((host, int(port)), 30)) as sock:
        sock.sendall("\r\n".join(lines).encode() + body)
        received = b""
        while data := sock.recv(65536):
            received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head.lower(), rest


def test_a_client_of_http_1_0_gets_a_stream_without_chunks(http: Raw) -> None:
    head, body = exchange(http, "1.0", stream=True)
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\r\n\r\n")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_one_connection_header(http: Raw, stream: bool) -> None:
    head, _ = exchange(http, "1.1", "Connection: close", stream=stream)
    assert head.count(b"\nconnection:") == 1
    assert b"connection: close" in head


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_encoded_bodies_are_read(http: Raw, encoding: str, encode: Any) -> None:
    headers = {"X-Api-Key": API, "Content-Type": "application/json", "Content-Encoding": encoding}
    data = encode(json.dumps(BABBLE).encode())
    assert http("POST", CHAT, raw=data, headers=headers).status == 200
    assert http("POST", CHAT, raw=data[:-9], headers=headers).status == 400
    headers["Content-Encoding"] = "br"
    assert http("POST", CHAT, raw=data, headers=headers).status == 415


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(http: Raw) -> None:
    bomb = gzip.compress(b" " * (65 << 20))
    headers = {"X-Api-Key": API, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert http("POST", CHAT, raw=bomb, headers=headers).status == 413
