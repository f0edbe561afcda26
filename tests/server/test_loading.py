"""Loading, unloading and switching models on the local server, while it is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

import tabbyapi
from support.tiny_model import write_random
from tabbyapi import LocalServer, user

HELLO = [user("Say hello.")]
LONG = {"max_tokens": 4000, "loop_detect_window": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, one of them in a folder of its own and two broken."""
    folder = tmp_path_factory.mktemp("models")
    write_random(folder / "one.gguf", seed=1)
    write_random(folder / "two.gguf", seed=2)
    (folder / "three").mkdir()
    whole = write_random(folder / "three" / "weights.gguf", seed=3).read_bytes()
    (folder / "garbage.gguf").write_bytes(b"no model at all")
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[LocalServer]:
    settings = {"n_ctx": 4096, "dummy_models": ["gpt-4o-mini"], "inline_loading": True}
    with LocalServer(model=folder / "one.gguf", **settings) as server:
        yield server


def current(client: tabbyapi.Client) -> str | None:
    try:
        return client.models.get().id
    except tabbyapi.ModelNotLoadedError:
        return None


def test_models_are_listed_loaded_with_progress_and_unloaded(server: LocalServer) -> None:
    with server.client() as client:
        names = {card.id for card in client.models.list()}
        assert {"one", "two", "three"} <= names
        with client.models.load_stream("three", max_seq_len=2048) as stream:
            steps = list(stream)
        assert [step.module for step in steps] == sorted(step.module for step in steps)
        assert steps[-1].status == "finished"
        card = client.models.get()
        assert card.id == "three"
        assert card.parameters is not None
        assert card.parameters.max_seq_len == 2048
        assert client.chat.create(HELLO, max_tokens=4).model == "three"
        assert client.models.load("three").status == "finished"  # it is loaded already
        client.models.unload()
        assert current(client) is None
        with pytest.raises(tabbyapi.ModelNotLoadedError):
            client.chat.create(HELLO, max_tokens=4)
        with pytest.raises(tabbyapi.ModelNotLoadedError):
            client.models.unload()
        client.models.load("one")
        assert client.chat.create(HELLO, max_tokens=4).model == "one"


@pytest.mark.parametrize("name", ["garbage", "cut"])
def test_a_broken_file_is_an_error_that_the_server_survives(server: LocalServer, name: str) -> None:
    with server.client() as client:
        with pytest.raises(tabbyapi.StreamError, match=name):
            client.models.load(name)
        assert current(client) is None  # as on TabbyAPI: the old one has made room
        client.models.load("two")
        assert client.chat.create(HELLO, max_tokens=4).model == "two"


@pytest.mark.parametrize("name", ["no-such", "../one", "/etc/passwd", "three/weights", "."])
def test_only_names_of_the_folder_can_be_loaded(server: LocalServer, name: str) -> None:
    with server.client() as client:
        with pytest.raises(tabbyapi.APIError, match="Could not find the model path"):
            client.models.load(name)
        assert current(client) == "one"


def test_what_cannot_be_loaded_with_is_an_error_that_names_it(server: LocalServer) -> None:
    with (
        server.client() as client,
        pytest.raises(tabbyapi.StreamError, match="no prompt template 'none'"),
    ):
        client.models.load("two", prompt_template="none")


def test_two_loads_at_once_both_succeed_one_after_the_other(server: LocalServer) -> None:
    def load(name: str) -> None:
        with server.client() as client:
            done.append(client.models.load(name).status)

    done: list[str] = []
    threads = [threading.Thread(target=load, args=(name,)) for name in ("two", "three", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == ["finished"] * 3
    with server.client() as client:
        assert current(client) in ("two", "three")


def test_a_load_waits_for_answers_that_are_being_written(server: LocalServer) -> None:
    with server.client() as client:
        with client.chat.create_stream(HELLO, max_tokens=600, loop_detect_window=0) as stream:
            next(iter(stream))
            loader = threading.Thread(target=client.models.load, args=("two",))
            loader.start()
            reply = stream.until_done()
        loader.join(60)
        assert reply.model == "one"
        assert reply.finish_reason == "length"
        assert current(client) == "two"


def test_a_load_that_skips_the_queue_ends_them(server: LocalServer) -> None:
    with server.client() as client:
        with client.chat.create_stream(HELLO, **LONG) as stream:
            next(iter(stream))
            client.models.load("two", skip_queue=True)
            with pytest.raises(tabbyapi.StreamError, match="unloaded") as caught:
                stream.until_done()
        assert caught.value.partial.text
        assert client.chat.create(HELLO, max_tokens=4).model == "two"


def test_unloading_ends_a_stream_with_an_error_and_a_whole_answer_where_it_is(
    server: LocalServer,
) -> None:
    replies = []
    with server.client() as client:
        whole = threading.Thread(target=lambda: replies.append(client.chat.create(HELLO, **LONG)))
        with client.chat.create_stream(HELLO, **LONG) as stream:
            next(iter(stream))
            whole.start()
            time.sleep(0.5)
            client.models.unload()
            with pytest.raises(tabbyapi.StreamError, match="unloaded"):
                stream.until_done()
        whole.join(30)
    assert replies[0].choices[0].eos_reason is None
    assert replies[0].text


def test_leaving_the_progress_does_not_cancel_the_load(server: LocalServer) -> None:
    with server.client() as client:
        with client.models.load_stream("two"):
            pass
        deadline = time.monotonic() + 30
        while current(client) != "two":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_model_field_switches_for_the_admin_alone(server: LocalServer) -> None:
    with server.client() as client:
        with pytest.raises(tabbyapi.AuthenticationError, match="two"):
            client.chat.create(HELLO, max_tokens=4, model="two")
        assert client.chat.create(HELLO, max_tokens=4, model="gpt-4o-mini").model == "one"
        assert client.chat.create(HELLO, max_tokens=4, model="one").model == "one"
    with server.client(api_key=server.admin_key) as admin:
        assert admin.chat.create(HELLO, max_tokens=4, model="no-such").model == "one"
        assert admin.chat.create(HELLO, max_tokens=4, model="two").model == "two"
        assert admin.completions.create("Once", max_tokens=4, model="one").model == "one"
        with pytest.raises(tabbyapi.APIError, match="garbage"):
            admin.chat.create(HELLO, max_tokens=4, model="garbage")


def test_memory_is_given_back_on_unload(server: LocalServer) -> None:
    with server.client() as client:
        client.models.unload()
        empty = memory(server)
        client.models.load("one")
        client.chat.create(HELLO, max_tokens=64)
        assert memory(server) > empty * 1.2
        client.models.unload()
        assert memory(server) < empty * 1.1


def memory(server: LocalServer) -> int:
    """Bytes that the server and its engine take."""
    assert server.pid is not None
    total, waiting = 0, [server.pid]
    while waiting:
        pid = waiting.pop()
        status = Path(f"/proc/{pid}/status").read_text()
        total += (
            next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line) * 1024
        )
        for task in Path(f"/proc/{pid}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return total


def test_openais_client_lists_the_models(server: LocalServer) -> None:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0
    ) as client:
        assert [model.id for model in client.models.list()] == ["gpt-4o-mini", "one"]
