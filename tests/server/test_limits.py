"""Clients that are slow, many, silent or deaf: bounded, and nobody else's trouble."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from tabbyapi.local_server import LocalServer
from tabbyapi.server.app import build_app
from tabbyapi.server.auth import Keys
from tabbyapi.server.main import serve
from tabbyapi.server.settings import Settings

from .conftest import ADMIN, API, CHAT, HELLO, Raw

BODY = json.dumps({"messages": HELLO, "max_tokens": 1}).encode()
MOST = 8  # connections


@pytest.fixture(scope="module")
def strict(random_model: Path) -> Iterator[Raw]:
    """A server that soon loses patience."""
    server = LocalServer(
        random_model, api_keys=(API,), admin_key=ADMIN, threads=1, slots=2, max_connections=MOST,
        head_timeout=1, body_timeout=1, stall_timeout=0.5, max_body_bytes=100_000,
        ping_interval=0, max_bodies_bytes=250_000,
    )  # fmt: skip
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


def connect(raw: Raw) -> socket.socket:
    where = urlsplit(raw.server.url)
    return socket.create_connection((where.hostname, where.port), timeout=20)


def head(length: int, *more: str) -> bytes:
    lines = [
        f"POST {CHAT} HTTP/1.1", "Host: x", f"X-Api-Key: {API}", *more,
        "Content-Type: application/json", f"Content-Length: {length}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def all_of(sock: socket.socket) -> bytes:
    """What comes until the server closes."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass  # it closed while we were still sending
    return data


def answer_of(sock: socket.socket) -> tuple[int, str]:
    """Status and detail of the answer, after which the server closes."""
    top, _, body = all_of(sock).partition(b"\r\n\r\n")
    return int(top.split()[1]), str(json.loads(body)["detail"])


def is_served(raw: Raw) -> bool:
    return bool(raw.chat(max_tokens=1)["choices"])


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(strict: Raw, sent: bytes) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(sent)
        assert answer_of(sock) == (408, "The request's head did not arrive within 1 s.")


def test_a_head_that_drips_is_not_waited_for_either(strict: Raw) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n")
        with pytest.raises(OSError):
            for k in range(400):
                sock.sendall(b"X-%d: 1\r\n" % k)
                time.sleep(0.02)
    assert is_served(strict)


def test_the_next_head_on_a_kept_connection_is_watched_too(strict: Raw) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /he")
        assert answer_of(sock)[0] == 408


def test_an_endless_head_is_cut_off(strict: Raw) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * 70_000)
        assert answer_of(sock) == (431, "The request's head is larger than 65536 bytes.")


def test_a_head_that_is_too_large_is_refused_even_if_it_comes_at_once(strict: Raw) -> None:
    for long in (b"X-Long: " + b"x" * 120_000, b"\r\n".join([b"X-Y: " + b"x" * 115] * 999)):
        with closing(connect(strict)) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + long + b"\r\n\r\n")
            assert answer_of(sock) == (431, "The request's head is larger than 65536 bytes.")
    with closing(connect(strict)) as sock:
        sock.sendall(b"GET /health?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(sock)[0] == 431
    with closing(connect(strict)) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 60_000 + b"\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", BODY[:10]])
def test_a_body_that_does_not_come_is_not_waited_for(strict: Raw, sent: bytes) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(head(len(BODY)) + sent)
        assert answer_of(sock) == (408, "The body did not arrive in time.")


def test_a_body_that_is_too_large_is_refused_and_the_connection_closed(strict: Raw) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(head(150_000) + b" " * 150_000)
        assert answer_of(sock) == (413, "The body is larger than 100000 bytes.")
    with closing(connect(strict)) as sock:
        chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        try:
            sock.sendall(chunked + chunk * 100)
        except OSError:
            return  # cut off long before the end
        assert all_of(sock)[:12] in (b"HTTP/1.1 413", b"")


def test_bodies_that_are_too_large_together_are_told_to_come_back(strict: Raw) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(closing(connect(strict))) for _ in range(3)]
        for sock in socks:
            sock.sendall(head(100_000) + b" " * 90_000)
        answers = [all_of(sock) for sock in socks]
    # The one for which there was no room, and two that came too slowly.
    assert sorted(answer[9:12] for answer in answers) == [b"408", b"408", b"503"]
    assert any(b"too many large requests came at once" in answer for answer in answers)
    assert is_served(strict)


def test_a_large_body_of_a_stranger_is_not_read(strict: Raw) -> None:
    with closing(connect(strict)) as sock:
        sock.sendall(head(99_000).replace(API.encode(), b"wrong"))
        assert sock.recv(65536).startswith(b"HTTP/1.1 401")


def test_connections_beyond_the_limit_are_told_to_come_back(strict: Raw) -> None:
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(closing(connect(strict)))
        with closing(connect(strict)) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = all_of(sock).lower()
        assert answer.startswith(b"http/1.1 503")
        assert b"\r\nretry-after: 2\r\n" in answer
        assert b"too many connections" in answer
    assert is_served(strict)


def test_far_more_connections_wait_or_are_refused_and_the_server_lives_on(strict: Raw) -> None:
    with ExitStack() as stack:
        for _ in range(5 * MOST):
            try:
                stack.enter_context(closing(connect(strict)))
            except OSError:
                break
    deadline = time.monotonic() + 10
    while strict("GET", "/health").status != 200:
        assert time.monotonic() < deadline
    assert is_served(strict)


def test_a_client_that_never_reads_is_dropped_and_its_slot_is_free(strict: Raw) -> None:
    body = {"messages": HELLO, "stream": True, "max_tokens": 7000, "loop_detect_window": 0,
            "n": 2, "logprobs": 100}  # fmt: skip
    with ExitStack() as stack:
        for _ in range(2):
            sock = stack.enter_context(closing(socket.socket()))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            where = urlsplit(strict.server.url)
            sock.connect((where.hostname, where.port))
            data = json.dumps(body).encode()
            sock.sendall(head(len(data)) + data)
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
        # Both slots are taken by answers that nobody reads: this waits until they are dropped.
        assert is_served(strict)


def test_browsers_are_kept_out_unless_asked_for(http: Raw, random_model: Path) -> None:
    origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    plain = http("GET", "/health", headers=origin)
    assert not [name for name in plain.headers if name.lower().startswith("access-control")]
    assert http("OPTIONS", CHAT, headers=origin).status == 405
    allowed = "http://good.example"
    with (
        LocalServer(random_model, cors_origins=(allowed,), threads=1) as server,
        urllib3.PoolManager() as pool,
    ):
        raw = Raw(server, pool)
        good = raw("GET", "/health", headers={"Origin": allowed})
        assert good.headers["access-control-allow-origin"] == allowed
        evil = raw("GET", "/health", headers=origin)
        assert "access-control-allow-origin" not in evil.headers


@pytest.mark.parametrize(
    ("host", "reach"), [("127.0.0.1", "programs and users"), ("0.0.0.0", "anyone who reaches")]
)
def test_listening_without_keys_is_warned_of(host: str, reach: str, random_model: Path) -> None:
    said: list[str] = []
    settings = Settings(model=random_model, host=host, port=0, auth=False, threads=1)
    serve(settings, say=said.append, on_listening=lambda _url, stop: stop())
    assert any("without keys" in line and reach in line for line in said)


def test_the_default_is_this_machine_alone() -> None:
    assert Settings().host == "127.0.0.1"
    assert Settings().auth
    assert not Settings().cors_origins


def test_keys_show_in_no_log_and_no_repr(random_model: Path) -> None:
    settings = Settings(api_keys=(API,), admin_key=ADMIN)
    keys = Keys((API,), ADMIN)
    for value in (settings, keys, build_app(settings, keys).state.runtime):
        assert API not in repr(value)
        assert ADMIN not in repr(value)
    told = {
        "model": str(random_model), "port": 0, "api_keys": [API], "admin_key": ADMIN,
        "log_level": "debug", "threads": 1,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "tabbyapi.server.main"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    url = json.loads(process.stdout.readline())["url"]
    with urllib3.PoolManager() as pool:
        for key in (API, ADMIN, API + "x"):
            for headers in ({"X-Api-Key": key}, {"Authorization": f"Bearer {key}"}):
                pool.request("GET", url + "/v1/models", headers=headers)
                pool.request("POST", url + CHAT, headers=headers, body=b"{")
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert API not in errors
    assert ADMIN not in errors
