"""Conversations kept on disk: one JSON file each, in the user's data folder."""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_data_path

from ..errors import ValidationError
from ..types.messages import ChatMessage
from .files import write_privately

__all__ = ["Saved", "data_folder", "fresh_name", "latest", "load", "names", "path_of", "save"]

_NAME = re.compile(r"[\w][\w. -]{0,99}")


class Saved(msgspec.Struct, omit_defaults=True):
    """A conversation on disk."""

    messages: list[ChatMessage]
    params: dict[str, Any] = {}
    version: int = msgspec.field(default_factory=lambda: 1)


def data_folder() -> Path:
    """Where this user's lasting files are; made if it is missing."""
    folder = user_data_path("py-tabbyapi", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def path_of(name: str) -> Path:
    """The file of a conversation.

    Raises:
        ValidationError: no name for a file.
    """
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise ValidationError(
            f"{name!r} is no name for a conversation: letters, digits, spaces, '-', '_' and '.'",
            field="session",
        )
    return data_folder() / "sessions" / f"{name}.json"


def names() -> list[str]:
    """Every conversation kept, the latest first."""
    files = (data_folder() / "sessions").glob("*.json")
    return [f.stem for f in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True)]


def fresh_name() -> str:
    """A name for a new conversation: the moment it began, and what tells it from a twin."""
    return f"{time.strftime('%Y-%m-%d %H.%M.%S')} {secrets.token_hex(4)}"


def latest() -> str | None:
    """The conversation that was saved last, None if there is none."""
    return next(iter(names()), None)


def save(name: str, saved: Saved) -> Path:
    """Writes a conversation. Readable by its owner only; whole or not at all."""
    path = path_of(name)
    write_privately(path, msgspec.json.format(msgspec.json.encode(saved), indent=1).decode())
    return path


def load(name: str) -> Saved:
    """Reads a conversation.

    Raises:
        ValidationError: there is none of this name, or the file is not one of ours.
    """
    path = path_of(name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        known = ", ".join(names()[:5])
        raise ValidationError(
            f"there is no conversation {name!r}" + (f"; there are {known}" if known else ""),
            field="session",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} is not a conversation: {error}", field="session") from None
