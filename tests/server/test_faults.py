"""What happens when the engine dies, clients leave, or too many come at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from support.processes import engines
from tabbyapi.local_server import LocalServer

from .conftest import API, CHAT, HELLO, Raw, data_events

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks processes up in /proc"
)

ENDLESS = {"messages": HELLO, "stream": True, "loop_detect_window": 0, "max_tokens": 7000}


def wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def own(random_model: Path) -> LocalServer:
    return LocalServer(
        random_model, api_keys=(API,), threads=1, slots=2, max_queue=1, ping_interval=0.05
    )


def test_a_dead_engine_fails_its_callers_and_comes_back(own: LocalServer) -> None:
    with own, urllib3.PoolManager(maxsize=4) as pool:
        raw = Raw(own, pool)
        assert own.pid is not None
        (engine,) = engines(own.pid)
        with ThreadPoolExecutor() as threads:
            body = ENDLESS | {"max_tokens": 3500}  # both fit into the context together
            stream = raw("POST", CHAT, body, stream=True)
            whole = threads.submit(raw, "POST", CHAT, body | {"stream": False})
            assert stream.read1(10)
            time.sleep(0.2)  # the other one is under way too
            os.kill(engine, signal.SIGKILL)
            events = data_events(b"data: {}\r\n\r\n" + stream.read())
            assert "[DONE]" not in events
            assert "engine" in events[-1]["error"]["message"]
            answer = whole.result()
            assert answer.status == 503
            assert "aborted" in answer.json()["detail"]
        assert raw.chat()["choices"][0]["eos_reason"] == "max_new_tokens"
        assert engines(own.pid) != [engine]
        assert raw("GET", "/health").status == 200


def test_a_client_that_leaves_frees_its_slot(own: LocalServer) -> None:
    with own, urllib3.PoolManager(maxsize=8) as pool:
        raw = Raw(own, pool)
        for _ in range(6):  # more than slots and queue together
            stream = raw("POST", CHAT, ENDLESS, stream=True)
            assert stream.status == 200
            assert stream.read1(10)
            stream.close()
            wait_until(lambda: raw.chat(max_tokens=1))
        for _ in range(6):
            with pytest.raises(urllib3.exceptions.ReadTimeoutError):
                pool.request(
                    "POST",
                    own.url + CHAT,
                    json=ENDLESS | {"stream": False},
                    headers={"X-Api-Key": API},
                    timeout=urllib3.Timeout(connect=5, read=0.05),
                    retries=False,
                )
        wait_until(lambda: raw("POST", CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200)


def test_requests_beyond_slots_and_queue_are_told_to_come_back(own: LocalServer) -> None:
    with own, urllib3.PoolManager(maxsize=8) as pool:
        raw = Raw(own, pool)
        streams = [raw("POST", CHAT, ENDLESS, stream=True) for _ in range(3)]
        assert all(stream.status == 200 for stream in streams)
        refused = raw("POST", CHAT, {"messages": HELLO})
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        # The third waits in the queue, and is pinged meanwhile.
        assert streams[2].read1(6) == b": ping"
        for stream in streams:
            stream.close()


def test_many_requests_at_once_are_all_answered(http: Raw) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda k: http.chat(max_tokens=20, n=1 + k % 2), range(24)))
    assert all(choice["eos_reason"] == "max_new_tokens" for a in answers for choice in a["choices"])


def test_a_second_turn_reuses_the_first_ones_prompt(http: Raw) -> None:
    messages = [{"role": "user", "content": "word " * 300}]
    usage = {"stream_options": {"include_usage": True}, "max_tokens": 8}
    first = http.chat(messages, **usage)
    reply = first["choices"][0]["message"]["content"]
    messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "More."}]
    second = http.chat(messages, **usage)["usage"]
    # The rate counts uncached tokens only, so with a cache it says less than the whole prompt.
    rate, seconds = second["prompt_tokens_per_sec"], second["prompt_time"]
    assert rate == "Indeterminate" or rate * seconds < 200 < second["prompt_tokens"]


def test_the_engine_ends_with_a_server_that_is_killed(
    own: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    own.start()
    try:
        assert own.pid is not None
        (engine,) = engines(own.pid)
        assert list(tmp_path.glob("tabbyapi-*"))
        os.kill(own.pid, signal.SIGKILL)
        wait_until(lambda: not _alive(engine))
        wait_until(lambda: not list(tmp_path.glob("tabbyapi-*")))
    finally:
        own.stop()


def test_the_server_ends_with_whoever_started_it(random_model: Path) -> None:
    program = (
        "import os, sys\n"
        "from tabbyapi.local_server import LocalServer\n"
        f"server = LocalServer({str(random_model)!r}, threads=1).start()\n"
        "print(server.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False
    )
    wait_until(lambda: not _alive(int(done.stdout)))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_stopping_twice_is_harmless(own: LocalServer) -> None:
    own.start()
    threads = [threading.Thread(target=own.stop) for _ in range(1)]
    for thread in threads:
        thread.start()
        thread.join()
    own.stop()
    assert own.pid is None
