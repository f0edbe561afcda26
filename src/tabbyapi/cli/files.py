"""Files that belong to this user alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["config_folder", "readable_by_others", "write_privately"]


def config_folder() -> Path:
    """Where this user's settings are; it may not exist yet."""
    from platformdirs import user_config_path

    return user_config_path("py-tabbyapi", appauthor=False)


def write_privately(path: Path, content: str) -> None:
    """Writes a file that only its owner can read; whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def readable_by_others(path: Path) -> bool:
    """Whether other users of this machine may read or change a file."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
