"""Connections that are silent for long: the system probes whether the other end is still there."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from support.replay import ReplayServer, json_reply
from support.talk import HELLO, Talk

# In Linux' table: the state of an open connection, and the timer that is probing.
ESTABLISHED, KEEPALIVE = "01", "02"


def timers(port: int) -> set[str]:
    """The timers of this machine's open connections to a port."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [row for row in rows if row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED]
    return {row[5].partition(":")[0] for row in mine}


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' table of connections")
def test_a_connection_without_an_answer_is_probed(talk: Talk) -> None:
    seen: list[set[str]] = []
    asked = threading.Event()

    def look() -> None:
        asked.wait(30)
        port = int(server.url.rpartition(":")[2])
        # Until the request is acknowledged, its own timer runs.
        while KEEPALIVE not in timers(port) and not done.is_set():
            done.wait(0.005)
        seen.append(timers(port))
        done.set()

    done = threading.Event()

    def answer(request: object) -> object:
        asked.set()
        done.wait(30)
        return json_reply(200, {"choices": [{"message": {"role": "assistant", "content": "hi"}}]})

    with ReplayServer([answer]) as server:  # type: ignore[list-item]
        looking = threading.Thread(target=look)
        looking.start()
        (outcome,) = talk(server.url, [HELLO])
        done.set()
        looking.join()
    assert outcome.error is None
    assert seen == [{KEEPALIVE}]
