"""Downloads of the local server, from a stand-in for a hub."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

import tabbyapi
from support.hub import Hub
from tabbyapi import LocalServer, user

TOKEN = "hf_secret_token"
LARGE = hashlib.sha256(b"seed").digest() * 750_000  # 24 MB: the library resumes by 10 MB


@pytest.fixture(scope="module")
def hub(tiny_model: Path) -> Iterator[Hub]:
    files = {"weights.gguf": tiny_model.read_bytes(), "README.md": b"# Tiny", "x.bin": b"x"}
    repositories = {"some/tiny-model": files, "some/large": {"large.bin": LARGE}}
    repositories["some/climber"] = {"../first.gguf": b"x"}
    repositories["some/stranger"] = {"/etc/strange.gguf": b"x"}
    with Hub(repositories, token=TOKEN) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "loras").mkdir()
    (tmp_path / "models" / "first.gguf").write_bytes(tiny_model.read_bytes())
    return tmp_path / "models"


@pytest.fixture
def server(hub: Hub, folder: Path) -> Iterator[LocalServer]:
    model, loras = folder / "first.gguf", folder.parent / "loras"
    with LocalServer(model=model, loras_dir=loras, hub_url=hub.url, n_ctx=512) as server:
        yield server


def test_a_downloaded_model_can_be_loaded(server: LocalServer, folder: Path, hub: Hub) -> None:
    with server.client() as client:
        path = client.models.download(
            "some/tiny-model", include=["*.gguf", "*.md"], exclude=["README*"], token=TOKEN
        )
        assert Path(path) == folder / "tiny-model"
        assert [p.name for p in Path(path).iterdir() if p.is_file()] == ["weights.gguf"]
        assert "tiny-model" in [card.id for card in client.models.list()]
        client.models.load("tiny-model")
        assert client.chat.create([user("Hi")], max_tokens=4).model == "tiny-model"
        asked = len(hub.requests)
        client.models.download("some/tiny-model", include=["*.gguf"], token=TOKEN)
        assert not any(m == "GET" and "resolve" in path for m, path, _ in hub.requests[asked:])


def test_adapters_go_to_their_own_folder(server: LocalServer, folder: Path) -> None:
    with server.client() as client:
        path = client.models.download(
            "some/tiny-model", repo_type="lora", folder_name="mine", token=TOKEN
        )
    assert Path(path) == folder.parent / "loras" / "mine"


def test_a_download_that_breaks_goes_on_where_it_was(server: LocalServer, hub: Hub) -> None:
    hub.cut = 1
    with server.client() as client:
        path = client.models.download("some/large", token=TOKEN)
    assert (Path(path) / "large.bin").read_bytes() == LARGE
    assert any(header and header.startswith("bytes=") for _, _, header in hub.requests)


@pytest.mark.parametrize(
    ("repository", "options"),
    [
        ("some/missing", {}),
        ("some/tiny-model", {"revision": "no-such"}),
        ("some/tiny-model", {"token": "hf_wrong"}),
        ("some/tiny-model", {"folder_name": "../outside"}),
        ("some/tiny-model", {"folder_name": ".hidden"}),
        ("../etc", {}),
    ],
)
def test_what_cannot_be_had_is_refused_without_a_trace(
    server: LocalServer, folder: Path, repository: str, options: dict[str, str]
) -> None:
    before = sorted(path.name for path in folder.parent.rglob("*"))
    with server.client() as client:
        with pytest.raises(tabbyapi.APIError) as caught:
            client.models.download(repository, **({"token": TOKEN} | options))  # type: ignore[arg-type]
        assert "hf_" not in str(caught.value)
        assert client.chat.create([user("Hi")], max_tokens=2).model == "first"
    assert not (folder.parent / "outside").exists()
    after = sorted(path.name for path in folder.parent.rglob("*"))
    assert [name for name in after if name.endswith(".gguf")] == [
        name for name in before if name.endswith(".gguf")
    ]


@pytest.mark.parametrize("repository", ["some/climber", "some/stranger"])
def test_a_hub_cannot_have_files_written_elsewhere(
    server: LocalServer, folder: Path, repository: str
) -> None:
    before = (folder / "first.gguf").read_bytes()
    with server.client() as client, pytest.raises(tabbyapi.InvalidRequestError, match="filename"):
        client.models.download(repository, token=TOKEN)
    assert (folder / "first.gguf").read_bytes() == before


def test_leaving_cancels_a_download_and_nothing_remains(
    server: LocalServer, folder: Path, hub: Hub
) -> None:
    hub.slow = threading.Event()

    async def leave() -> None:
        async with server.async_client() as client:
            task = asyncio.create_task(client.models.download("some/large", token=TOKEN))
            while not (folder / "large").exists():  # noqa: ASYNC110 - a folder has no event
                await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    try:
        asyncio.run(asyncio.wait_for(leave(), 30))
        deadline = time.monotonic() + 15
        while (folder / "large").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        hub.slow.set()
        hub.slow = None
