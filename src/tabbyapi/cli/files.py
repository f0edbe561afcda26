"""Files of this user: where they are, how they are read and written."""

from __future__ import annotations

import os
from pathlib import Path

from .._files import replace_file
from ..errors import ValidationError

__all__ = [
    "LARGEST",
    "decode_text",
    "read_text",
    "readable_by_others",
    "write_privately",
]

LARGEST = 16 << 20
"""Bytes read of a text at most; devices and pipes may have no end."""


def read_text(path: Path) -> str:
    """Text of a file as editors write it; see `decode_text`.

    Raises:
        ValidationError: it is not text, or too large.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return decode_text(file.read(LARGEST + 1), str(path))


def decode_text(data: bytes, where: str) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark, with any line ends.

    Args:
        data: what was read, one byte more than `LARGEST` at most.
        where: the name of its source, for messages.

    Raises:
        ValidationError: it is not text, or too large.
    """
    if len(data) > LARGEST:
        raise ValidationError(f"{where}: larger than {LARGEST >> 20} MiB")
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # as Windows PowerShell writes
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValidationError(f"{where}: not a text file in UTF-8") from None
    return text.replace("\r\n", "\n")


def write_privately(path: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content, private=True)


def readable_by_others(path: Path) -> bool:
    """True if other users of this machine may read or change a file."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
