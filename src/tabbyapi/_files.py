"""Write files atomically: whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["replace_file", "sync_folder"]


def replace_file(
    path: Path, content: bytes | str | Iterable[bytes], *, private: bool = False
) -> None:
    """Write a file under a temporary name in the same folder, then rename it into place.

    Readers see the old file or the new one, also after a crash or a power failure. A symbolic
    link stays one: the file it points to is replaced.

    Args:
        path: the file. Its folder must exist.
        content: bytes, text (written as UTF-8, line ends as they are), or pieces of bytes.
        private: only the owner can read the file. Otherwise an existing file keeps its
            permissions, and a new one gets those of any new file.

    Raises:
        OSError: the file cannot be written; an old file stays as it was.
    """
    path = Path(os.path.realpath(path))
    if isinstance(content, str):
        content = content.encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        if not private:
            with suppress(FileNotFoundError):
                temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power failure."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
