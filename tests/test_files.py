"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tabbyapi._files import replace_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, "one\nä")
    replace_file(path, [b"two", b" three"])
    assert path.read_bytes() == b"two three"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"old")

    def pieces() -> object:
        yield b"half"
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        replace_file(path, pieces())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_are_kept_or_made_private(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"")
    umask = os.umask(0)
    os.umask(umask)
    assert mode(path) == 0o666 & ~umask
    path.chmod(0o640)
    replace_file(path, b"")
    assert mode(path) == 0o640
    replace_file(path, b"", private=True)
    assert mode(path) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "a.json")
    replace_file(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.json").read_bytes() == b"new"
