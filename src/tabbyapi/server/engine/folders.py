"""The folders of engines: one for each process, with its socket, which only its owner can enter."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["make_folder", "remove_folder", "sweep_folders"]

_PREFIX = "tabbyapi-"
_SOCKET = "engine.sock"
_OLD_SECONDS = 3600.0  # a folder without a socket may belong to an engine that is being loaded


def make_folder() -> str:
    """A new folder in the system's folder for temporary files. Raises OSError."""
    return tempfile.mkdtemp(prefix=_PREFIX)


def remove_folder(folder: str) -> None:
    """Remove it with what is in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep_folders() -> None:
    """Remove what servers that were killed left behind: folders whose engine does not listen."""
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "getuid"):
        return
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
            with suppress(OSError):
                if _is_left_over(folder):
                    remove_folder(str(folder))


def _is_left_over(folder: Path) -> bool:
    info = folder.lstat()
    if info.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        return False
    inside = {path.name for path in folder.iterdir()}
    if not inside:
        return time.time() - info.st_mtime > _OLD_SECONDS
    if inside != {_SOCKET}:
        return False  # it is not of our making
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(folder / _SOCKET))
        except ConnectionRefusedError:
            return True
        return False
