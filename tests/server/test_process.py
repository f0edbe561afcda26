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
