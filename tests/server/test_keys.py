"""Key files and given keys: sound ones are used, others refused, and none is open to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tabbyapi.server.auth import load_keys
from tabbyapi.server.settings import Settings

SOUND = '{"api_key": "a1", "admin_key": "b2"}'


@pytest.mark.parametrize(
    "content",
    [
        '{"api_key": null, "admin_key": "b"}', '{"api_key": 5, "admin_key": "b"}', "[]", "5",
        '{"api_key": "", "admin_key": "b"}', '{"api_key": "a b", "admin_key": "b"}',
        '{"api_key": "a\\n", "admin_key": "b"}', "{", "9" * 5000, "[" * 100_000, "\ufeff",
    ],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"keys\.json is not a key file"):
        load_keys(Settings(keys_file=path))


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_key_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(SOUND)
    path.chmod(0o666)
    assert load_keys(Settings(keys_file=path)).level("b2") == "admin"
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_written_anew_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.touch()
    keys = load_keys(Settings(keys_file=path))
    assert load_keys(Settings(keys_file=path)) == keys
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("key", ["a\nb", "a b", "", "\t", "a\x00"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(SystemExit, match="without spaces"):
        load_keys(Settings(api_keys=(key,)))
