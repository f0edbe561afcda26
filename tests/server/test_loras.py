"""LoRA adapters on the local server, by their effect on what the model says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

import tabbyapi
from support.tiny_lora import write_lora
from tabbyapi import LocalServer, user

GREEDY = {"max_tokens": 24, "temperature": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "pirate.gguf", seed=3)
    write_lora(folder / "poet.gguf", seed=4)
    write_lora(folder / "wide.gguf", width=96)
    write_lora(folder / "foreign.gguf", architecture="gemma")
    (folder / "broken.gguf").write_bytes(b"GGUF")
    (folder / "model.gguf").write_bytes(tiny_model.read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tiny_model: Path) -> Iterator[LocalServer]:
    with LocalServer(model=tiny_model, loras_dir=folder, n_ctx=1024) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[tabbyapi.Client]:
    with server.client() as client:
        client.lora.unload()
        yield client


def say(client: tabbyapi.Client) -> str:
    return client.chat.create([user("Say hello.")], **GREEDY).text


def in_use(client: tabbyapi.Client) -> dict[str, float | None]:
    return {card.id: card.scaling for card in client.lora.active()}


def test_an_adapter_changes_what_is_said_by_its_scaling(client: tabbyapi.Client) -> None:
    plain = say(client)
    assert client.lora.load([{"name": "pirate", "scaling": 1.0}]).success == ["pirate"]
    pirate = say(client)
    assert pirate != plain
    assert in_use(client) == {"pirate": 1.0}
    client.lora.load([{"name": "pirate", "scaling": 0.0}])
    assert say(client) == plain
    assert in_use(client) == {"pirate": 0.0}
    client.lora.load([{"name": "pirate", "scaling": 1.0}, {"name": "poet", "scaling": 0.5}])
    assert say(client) not in (plain, pirate)
    assert in_use(client) == {"pirate": 1.0, "poet": 0.5}
    client.lora.unload()
    assert say(client) == plain
    assert in_use(client) == {}


def test_the_folder_is_listed_for_the_admin_and_what_is_in_use_for_others(
    server: LocalServer, client: tabbyapi.Client
) -> None:
    assert "pirate" in [card.id for card in client.lora.list()]
    client.lora.load([{"name": "poet"}])
    with tabbyapi.Client(server.url, api_key=server.api_key) as guest:
        assert [card.id for card in guest.lora.list()] == ["poet"]


@pytest.mark.parametrize("name", ["wide", "foreign", "broken", "model", "missing", "../pirate"])
def test_an_adapter_that_does_not_fit_is_a_failure_that_changes_nothing(
    client: tabbyapi.Client, name: str
) -> None:
    client.lora.load([{"name": "pirate"}])
    before = say(client)
    with pytest.raises(tabbyapi.APIError, match=name):
        client.lora.load([{"name": name}])
    assert in_use(client) == {"pirate": 1.0}
    assert say(client) == before


def test_a_load_waits_for_answers_that_are_being_written(client: tabbyapi.Client) -> None:
    with client.chat.create_stream(
        [user("Say hello.")], max_tokens=400, loop_detect_window=0
    ) as stream:
        next(iter(stream))
        loader = threading.Thread(target=client.lora.load, args=([{"name": "pirate"}],))
        loader.start()
        assert stream.until_done().finish_reason == "length"
    loader.join(30)
    assert in_use(client) == {"pirate": 1.0}
