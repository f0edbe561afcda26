"""`tabbyapi serve` as a process: few descriptors, signals, odd users and addresses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.tiny_model import write_random
from tabbyapi.server.main import ServeError, serve
from tabbyapi.server.settings import Settings

from .conftest import CHAT, HELLO, data_events

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and users")

ENDLESS: dict[str, Any] = {"messages": HELLO, "max_tokens": 100_000, "loop_detect_window": 0}


@contextmanager
def served(
    model: Path,
    *options: str,
    auth: bool = False,
    env: dict[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    **of_process: Any,
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL and the process of `tabbyapi serve`, alone in its process group."""
    command = [sys.executable, "-m", "tabbyapi", "serve", "-m", str(model), "--threads", "1"]
    process = subprocess.Popen(
        [*command, *options, *([] if auth else ["--no-auth"])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=env, preexec_fn=prepare, **of_process,
    )  # fmt: skip
    try:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Listening on "):
                yield line.removeprefix("Listening on ").strip(), process
                return
        pytest.fail(f"it did not start: {process.communicate()}")
    finally:
        process.kill()
        process.communicate()


def few_descriptors() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def test_with_few_descriptors_connections_are_refused_and_none_is_reset(random_model: Path) -> None:
    def ask(url: str) -> int:
        return urllib3.request("POST", url + CHAT, json=body, retries=False, timeout=60).status

    body = {"messages": HELLO, "max_tokens": 20}
    with served(random_model, "--port", "0", prepare=few_descriptors) as (url, process):
        with ThreadPoolExecutor(80) as threads:
            statuses = Counter(threads.map(ask, [url] * 160))
        assert set(statuses) <= {200, 503}, statuses
        assert statuses[200]
        where = url.removeprefix("http://").split(":")
        idle = [socket.create_connection((where[0], int(where[1])), 10) for _ in range(100)]
        assert not {sock.recv(12) for sock in idle[10:20]} - {b"HTTP/1.1 503", b"HTTP/1.1 408"}
        for sock in idle:
            sock.close()
        process.terminate()
        _, logged = process.communicate(timeout=30)
    assert "Traceback" not in logged


def test_ctrl_c_ends_open_answers_with_an_error_and_prints_no_traceback(
    random_model: Path,
) -> None:
    with (
        served(random_model, "--port", "0") as (url, process),
        urllib3.PoolManager() as pool,
        ThreadPoolExecutor(1) as thread,
    ):
        streams = [
            pool.request("POST", url + CHAT, json=ENDLESS | {"stream": True}, preload_content=False)
            for _ in range(2)
        ]
        started = [stream.read(400) for stream in streams]
        whole = thread.submit(pool.request, "POST", url + CHAT, json=ENDLESS, retries=False)
        with pytest.raises(TimeoutError):
            whole.result(0.3)
        os.killpg(process.pid, signal.SIGINT)
        for begin, stream in zip(started, streams, strict=True):
            last = data_events(begin + stream.read())[-1]
            assert last["error"]["message"] == "The server is being stopped."
        assert whole.result(10).status == 503
        assert whole.result(10).json()["detail"] == "The server is being stopped."
        said, logged = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.endswith("Stopped.\n")
    assert "Traceback" not in logged
    assert "ERROR" not in logged


def test_a_client_that_does_not_read_does_not_hold_up_the_end(random_model: Path) -> None:
    with served(random_model, "--port", "0") as (url, process), socket.socket() as deaf:
        host, port = url.removeprefix("http://").split(":")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        body = json.dumps(ENDLESS | {"stream": True, "logprobs": 50}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        deaf.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert deaf.recv(12) == b"HTTP/1.1 200"
        process.terminate()
        _, logged = process.communicate(timeout=15)
    assert "Traceback" not in logged


def is_healthy(url: str) -> bool:
    return urllib3.request("GET", url + "/health", retries=False).status == 200


@pytest.mark.parametrize("home", [None, "/"])
def test_without_a_home_folder_it_serves_with_keys_that_are_given(
    random_model: Path, home: str | None
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    env = {name: value for name, value in kept.items() if name != "HOME"}
    env |= {"HOME": home} if home else {}
    options = ("--port", "0", "--api-key", "a-key", "--admin-key", "an-admin-key")
    with served(random_model, *options, auth=True, env=env) as (url, process):
        assert is_healthy(url)
        process.terminate()
        _, logged = process.communicate(timeout=30)
    assert "Traceback" not in logged


def test_the_last_port_has_no_next_one(random_model: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 65535))
        except OSError:
            pytest.skip("another program has port 65535")
        taken.listen()
        with pytest.raises(ServeError, match=r"Port 65535 of 127\.0\.0\.1 is taken: choose"):
            serve(Settings(model=random_model, port=65535, auth=False), next_port=True)
    with pytest.raises(ServeError, match="ports are 0 to 65535"):
        serve(Settings(model=random_model, port=65536, auth=False))


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_an_ipv6_address_may_have_brackets(random_model: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with served(random_model, "--host", host, "--port", "0") as (url, _):
        assert url.startswith("http://[::1]:")
        assert is_healthy(url)


def test_sigterm_is_handled_before_the_load_and_ends_the_process(tmp_path: Path) -> None:
    model = write_random(tmp_path / "model.gguf")
    command = [sys.executable, "-m", "tabbyapi", "serve", "-m", str(model), "--no-auth"]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline().startswith("Model: ")  # the load comes next
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():  # the kernel would drop a signal without a handler, were this process 1
        caught = next(s for s in status.read_text().splitlines() if s.startswith("SigCgt:"))
        assert int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1)
    process.terminate()
    _, logged = process.communicate(timeout=20)
    assert "Traceback" not in logged
