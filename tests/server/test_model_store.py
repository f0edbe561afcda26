"""`tabbyapi pull`, `list` and `rm`, and the names that `--model` understands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub import Hub
from tabbyapi.server.model_files.fetch import DownloadError
from tabbyapi.server.model_files.store import find_model, pull, remove, stored_models

TOKEN = "hf_of_a_test"
SMALL, LARGE = b"GGUF" + b"s" * 100, b"GGUF" + b"l" * 2_000_000
FILES = {
    "tiny-Q8_0.gguf": SMALL,
    "tiny-Q4_K_M.gguf": LARGE,
    "mmproj-tiny-f16.gguf": SMALL,
    "README.md": b"# Tiny",
}
PARTS = {f"big-0000{number}-of-00002.gguf": SMALL for number in (1, 2)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABBY_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    repositories = {
        "some/tiny-model": FILES,
        "some/big-model": PARTS,
        "some/text": {"README.md": b"# Text"},
        "some/page": {"page.gguf": b"<html>"},
    }
    with Hub(repositories, token=TOKEN) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def tabbyapi(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tabbyapi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_repository_gives_a_file_of_middling_size(hub: Hub, folder: Path) -> None:
    hub.cut = 1
    path = pull("hf:some/tiny-model")
    assert path == folder / "some" / "tiny-model" / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == LARGE
    assert f"bytes={len(LARGE) // 2}-" in [given for _, _, given in hub.requests]


def test_what_is_here_is_found_by_its_name_without_the_hub(hub: Hub, folder: Path) -> None:
    path = pull("hf:some/tiny-model:tiny-Q8_0.gguf")
    before = len(hub.requests)
    for spec in ("hf:some/tiny-model:tiny-Q8_0.gguf", "hf:some/tiny-model"):
        assert find_model(spec) == pull(spec) == path
    assert len(hub.requests) == before


def test_a_model_in_parts_is_fetched_listed_and_deleted_as_one(hub: Hub, folder: Path) -> None:
    path = pull("hf:some/big-model")
    assert path.name == "big-00001-of-00002.gguf"
    (model,) = stored_models()
    assert model.size == 2 * len(SMALL)
    remove(model.name)
    assert not (folder / "some").exists()


def test_a_url_names_a_file(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = ""
    url = f"{hub.url}/some/tiny-model/resolve/main/tiny-Q8_0.gguf?download=true"
    assert pull(url) == folder / "tiny-Q8_0.gguf"
    assert find_model("tiny-Q8_0") == find_model(url) == folder / "tiny-Q8_0.gguf"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("hf:some/text", "holds no GGUF file"),
        ("hf:some/tiny-model:other.gguf", "it has mmproj-tiny-f16.gguf, tiny-Q4_K_M.gguf"),
        ("hf:some/page", "is not a GGUF model file"),
        ("hf:some/missing", "404"),
        ("hf:../../etc", "not of the form hf:OWNER/REPOSITORY"),
        ("hf:nothing", "not of the form hf:OWNER/REPOSITORY"),
        ("https://example.invalid/page.html", "does not end with the name of a GGUF file"),
        ("tiny", "no model to fetch"),
    ],
)
def test_what_cannot_be_fetched_is_told(hub: Hub, folder: Path, spec: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason) as caught:
        pull(spec)
    assert TOKEN not in str(caught.value)
    assert stored_models() == []


def test_a_hub_is_sent_the_token_and_a_wrong_one_is_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(DownloadError, match="401"):
        pull("hf:some/tiny-model")


def test_the_commands_fetch_list_and_delete(hub: Hub, folder: Path) -> None:
    empty = tabbyapi("list")
    assert (empty.stdout, empty.returncode) == ("", 0)
    assert "tabbyapi pull" in empty.stderr
    pulled = tabbyapi("pull", "hf:some/tiny-model")
    path = folder / "some" / "tiny-model" / "tiny-Q4_K_M.gguf"
    assert pulled.stdout == f"{path}\n"
    assert pulled.stderr == f"Fetching tiny-Q4_K_M.gguf (2 MB) to {path}.\n"
    name = "hf:some/tiny-model:tiny-Q4_K_M.gguf"
    assert tabbyapi("list").stdout.split(" MB  ") == ["      2.0", f"{name}\n"]
    (row,) = json.loads(tabbyapi("list", "--json").stdout)
    assert row == {"name": name, "size": len(LARGE), "path": str(path)}
    assert tabbyapi("rm", name).stdout == f"Deleted {name} (2.0 MB).\n"
    assert list(folder.iterdir()) == []
    again = tabbyapi("rm", name)
    assert again.returncode != 0
    assert f"no fetched model '{name}'" in again.stderr
    assert "Traceback" not in again.stderr


def test_serve_says_that_a_name_means_nothing(folder: Path) -> None:
    served = tabbyapi("serve", "--model", "nothing")
    assert served.returncode != 0
    assert "no file and no fetched model 'nothing'" in served.stderr


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_a_terminal_sees_rate_and_time_left(hub: Hub) -> None:
    import pexpect

    hub.slow_bytes = 500_000
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tabbyapi", "pull", "hf:some/tiny-model"],
        env=os.environ | {"TERM": "xterm"},
        encoding="utf-8",
        dimensions=(24, 120),
        timeout=30,
    )
    child.expect(r"1\.\d/2\.0 MB.*\d [kM]?B/s.*0:0\d")
    child.expect("tiny-Q4_K_M.gguf\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
