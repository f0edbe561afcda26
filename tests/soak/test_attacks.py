"""Attacks on the local server, one after another, while `/health` is asked all the time.

`make soak` runs it. It prints the longest wait for `/health` during each attack.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.processes import engines
from support.tiny_model import write_random
from support.tiny_projector import write_projector
from tabbyapi import Client, LocalServer, TabbyError, image, user

pytestmark = pytest.mark.soak

LONGEST = 2.0  # seconds that `/health` may take at the very most, on any machine
SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))

FREEZING = (
    "{% set ns = namespace(x=[]) %}{% set other = namespace(x=[]) %}"
    "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set other.x = [other.x, other.x] %}"
    "{% endfor %}{{ ns.x == other.x }}"
)
BLOATED = "{{ 'x'|center(1000000) }}" * 3000
HOSTILE_AT_LOAD = "{{ range(1000000000)|list }}"


class Prober:
    """Asks for `/health` every 20 ms, and keeps the longest wait."""

    def __init__(self, server: LocalServer) -> None:
        self.longest = 0.0
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._server.client(timeout=60, retry=0) as client:
            while not self._stop.wait(0.02):
                begin = time.monotonic()
                with suppress(TabbyError):
                    client.health.check()
                self.longest = max(self.longest, time.monotonic() - begin)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def sparse_model(path: Path) -> None:
    """A GGUF whose header claims to be 200 MB of strings, all of them empty."""
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40))
        file.truncate(200 << 20)


def noise(count: int) -> list[Any]:
    from PIL import Image

    images = []
    for _ in range(count):
        out = io.BytesIO()
        Image.frombytes("RGB", (2000, 1500), os.urandom(2000 * 1500 * 3)).save(out, "JPEG")
        images.append(image(out.getvalue()))
    return images


@contextmanager
def several(work: Callable[[Any], object], items: list[Any]) -> Iterator[None]:
    """Each item in a thread of its own; refusals are what is hoped for."""

    def one(item: Any) -> None:
        with suppress(TabbyError):
            work(item)

    with ThreadPoolExecutor(len(items)) as threads:
        waiting = [threads.submit(one, item) for item in items]
        yield
        for each in waiting:
            each.result(timeout=240)


def attacks(client: Client) -> dict[str, tuple[Callable[[Any], object], list[Any]]]:
    chat = client.chat.create
    hello = [user("Hello")]

    def switched(name: str) -> None:
        client.templates.switch(name)
        chat(hello, max_tokens=2)

    def load(name: str) -> None:
        client.models.load(name)

    pictures = noise(16)
    return {
        "a template that holds the interpreter": (switched, ["freezing"]),
        "a template that grows when compiled": (switched, ["bloated"]),
        "a model whose template is hostile": (load, ["hostile"]),
        "a model with an enormous name": (load, ["long"]),
        "a model whose header claims too much": (load, ["sparse"]),
        "slow patterns": (
            lambda k: chat(hello, max_tokens=1, regex_pattern="(a|b)?" * (40_000 + k)),
            list(range(8)),
        ),
        "pictures of noise": (
            lambda parts: chat([user("?", *parts)], max_tokens=1, check_vision=False),
            [pictures, pictures],
        ),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models, templates = tmp_path / "models", tmp_path / "templates"
    models.mkdir()
    templates.mkdir()
    write_random(models / "plain.gguf")
    write_projector(models / "mmproj-plain-f32.gguf")
    write_random(models / "hostile.gguf", chat_template=HOSTILE_AT_LOAD)
    write_random(models / "long.gguf", name="x" * 200_000)
    sparse_model(models / "sparse.gguf")
    (templates / "freezing.jinja").write_text(FREEZING)
    (templates / "bloated.jinja").write_text(BLOATED)
    return tmp_path


def test_health_is_answered_during_every_attack(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = LocalServer(
        folder / "models" / "plain.gguf",
        models_dir=folder / "models",
        templates_dir=folder / "templates",
        n_ctx=2048,
    )
    waits = {}
    with server, server.client(timeout=240, retry=0) as client:
        for name, (work, items) in attacks(client).items():
            with Prober(server) as prober, several(work, items):
                pass
            waits[name] = prober.longest
        client.models.load("plain")
        assert client.chat.create([user("Hello")], max_tokens=3).text is not None
    with capsys.disabled():
        for name, seconds in waits.items():
            print(f"\n  {seconds * 1000:6.0f} ms  {name}", end="")
        print()
    assert max(waits.values()) < LONGEST


@pytest.mark.skipif(os.name == "nt", reason="ends processes by signals")
def test_engines_are_killed_and_their_folder_taken_away_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_random(tmp_path / "plain.gguf")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    tally = {"answered": 0, "refused": 0}
    stop = threading.Event()
    with LocalServer(model, n_ctx=1024, slots=4) as server, server.client(retry=0) as client:

        def ask() -> None:
            while not stop.is_set():
                try:
                    client.chat.create([user("Hello")], max_tokens=20, timeout=60)
                    tally["answered"] += 1
                except TabbyError:
                    tally["refused"] += 1
                    time.sleep(0.05)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        end, turn = time.monotonic() + SECONDS, 0
        assert server.pid is not None
        while time.monotonic() < end:
            turn += 1
            if turn % 5 == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            for pid in engines(server.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(1.5)
            temporary.mkdir(exist_ok=True)
            time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a request never ended"
        deadline = time.monotonic() + 60
        while True:
            try:
                assert client.chat.create([user("Hello")], max_tokens=3).usage.completion_tokens
                break
            except TabbyError:
                assert time.monotonic() < deadline, "the server did not recover"
                time.sleep(1)
    with capsys.disabled():
        print(f"\n  {tally['answered']} answered, {tally['refused']} refused in {turn} kills")
    assert tally["answered"]
