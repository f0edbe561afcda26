"""The engine's threads: how many, and that a busy neighbour does not stop them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tabbyapi import LocalServer
from tabbyapi.server.engine import threads
from tabbyapi.server.engine.threads import auto_threads, bounded_spinning


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_a_process_bound_to_one_core_computes_with_one_thread() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tabbyapi.server.engine.threads import auto_threads; print(auto_threads())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_two_hardware_threads_of_a_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "_siblings", lambda cpu: f"{cpu % 2},{cpu % 2 + 2}")
    monkeypatch.setattr(threads, "_quota", lambda: 8)
    assert auto_threads() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(threads, "_siblings", str)
    for given, found in (("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16)):
        monkeypatch.setattr(Path, "read_text", lambda path, given=given: given)
        assert auto_threads() == found


def test_threads_sleep_after_a_short_spin_unless_the_user_says_otherwise() -> None:
    assert 0 < int(bounded_spinning({})["GOMP_SPINCOUNT"]) < 100_000
    assert bounded_spinning({"OMP_WAIT_POLICY": "active"}) == {}
    assert bounded_spinning({"GOMP_SPINCOUNT": "1"}) == {}


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_of_threads_that_means_nothing_is_refused(value: str) -> None:
    command = [sys.executable, "-m", "tabbyapi", "serve", "--threads", value]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "auto, or a number from 1 on" in run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_engine_is_started_so(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    with LocalServer(tiny_model, n_ctx=256) as server:
        children = [
            child
            for task in Path(f"/proc/{server.pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        environments = [Path(f"/proc/{child}/environ").read_bytes() for child in children]
    assert any(b"GOMP_SPINCOUNT=2000" in environment for environment in environments)
