"""Files that belong to this user alone."""

from __future__ import annotations

import os
from pathlib import Path

from .._files import replace_file

__all__ = ["config_folder", "readable_by_others", "write_privately"]


def config_folder() -> Path:
    """Where this user's settings are; it may not exist yet."""
    from platformdirs import user_config_path

    return user_config_path("py-tabbyapi", appauthor=False)


def write_privately(path: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content, private=True)


def readable_by_others(path: Path) -> bool:
    """Whether other users of this machine may read or change a file."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
