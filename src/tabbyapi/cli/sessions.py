"""Saved conversations: their names, and their files in the user's data folder."""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, overload

import msgspec

from .._folders import data_folder
from ..errors import ValidationError

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from .._client.sync import Client
    from ..conversation import AsyncConversation, Conversation

__all__ = ["fresh_name", "latest", "load", "names", "path_of", "save"]

_NAME = re.compile(r"[\w][\w. -]{0,99}")


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
    """Names of all conversations, the latest first."""
    files = (data_folder() / "sessions").glob("*.json")
    return [f.stem for f in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True)]


def fresh_name() -> str:
    """A name for a new conversation: the time, and a random part for those begun at once."""
    return f"{time.strftime('%Y-%m-%d %H.%M.%S')} {secrets.token_hex(4)}"


def latest() -> str | None:
    """Name of the conversation that was saved last, None if there is none."""
    return next(iter(names()), None)


def save(name: str, conversation: Conversation | AsyncConversation) -> None:
    """Write a conversation to its file, which only the owner can read.

    Raises:
        ValidationError: no name for a file.
        OSError: the file cannot be written.
    """
    path = path_of(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)  # a file that is there keeps its mode when it is replaced
    conversation.save(path)


@overload
def load(name: str, client: Client) -> Conversation: ...


@overload
def load(name: str, client: AsyncClient) -> AsyncConversation: ...


def load(name: str, client: Client | AsyncClient) -> Conversation | AsyncConversation:
    """A conversation from its file, to go on with.

    Raises:
        ValidationError: there is none of this name, or the file is no conversation.
    """
    path = path_of(name)
    if not path.exists():
        known = ", ".join(names()[:5])
        raise ValidationError(
            f"there is no conversation {name!r}" + (f"; there are {known}" if known else ""),
            field="session",
        )
    try:
        return client.load_conversation(path)
    except ValidationError:
        early = _of_early_version(path, client)
        if early is None:
            raise
        return early


def _of_early_version(
    path: Path, client: Client | AsyncClient
) -> Conversation | AsyncConversation | None:
    """A file of the first format: messages and parameters, and nothing else."""
    try:
        content = msgspec.json.decode(path.read_bytes())
        if content.keys() - {"messages", "params", "version"}:
            return None
        return client.conversation(messages=content["messages"], **content.get("params", {}))
    except (msgspec.DecodeError, RecursionError, UnicodeError, AttributeError, LookupError):
        return None
