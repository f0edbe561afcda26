"""Where settings, data and models lie on each system."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath

import pytest

from tabbyapi import _folders

FOLDERS = [_folders.config_folder, _folders.data_folder, _folders.cache_folder]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    monkeypatch.delenv("TABBY_MODELS_DIR", raising=False)
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="a path of this system is made")
@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (
            "linux",
            [".config/py-tabbyapi", ".local/share/py-tabbyapi", ".cache/py-tabbyapi"],
        ),
        (
            "darwin",
            [
                "Library/Application Support/py-tabbyapi",
                "Library/Application Support/py-tabbyapi",
                "Library/Caches/py-tabbyapi",
            ],
        ),
    ],
)
def test_folders_are_where_the_system_has_them(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, expected: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert [folder() for folder in FOLDERS] == [home / path for path in expected]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="XDG's variables")
def test_variables_of_the_desktop_move_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert _folders.config_folder() == Path("/elsewhere/py-tabbyapi")
    assert PurePath(".local/share") == _folders.data_folder().relative_to(Path.home()).parent


def test_a_variable_moves_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _folders.models_folder() == _folders.cache_folder() / "models"
    monkeypatch.setenv("TABBY_MODELS_DIR", str(tmp_path / "models"))
    assert _folders.models_folder() == tmp_path / "models"
