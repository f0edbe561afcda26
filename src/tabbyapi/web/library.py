"""Saved conversations as the page lists them. They are those of the terminal: `cli.sessions`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..cli import sessions
from ..errors import ValidationError

if TYPE_CHECKING:
    from ..conversation import AsyncConversation

__all__ = ["Item", "Library", "as_json", "file_name", "title_of"]

_MADE_UP = re.compile(r"\d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d [0-9a-f]{8}")
_TITLE = 60  # characters
_SEARCHED = 200_000  # characters of each conversation


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[_Part | str] | None = None

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return " ".join(p if isinstance(p, str) else p.text or "" for p in self.content)


class _File(msgspec.Struct):
    messages: list[_Message] = []


_decode = msgspec.json.Decoder(_File).decode


@dataclass(frozen=True)
class Item:
    """A saved conversation.

    Attributes:
        name: the name it is saved under.
        title: its name, or its first words where the name was made up.
        modified: time of the last change, in nanoseconds.
        text: all its text in lower case, for searching.
    """

    name: str
    title: str
    modified: int
    text: str


class Library:
    """The folder of saved conversations. Its methods block: call them in a thread."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    def items(self, search: str = "") -> list[Item]:
        """The conversations that contain all words of `search`, the latest first."""
        words = search.lower().split()
        found = [self._item(name) for name in sessions.names()]
        kept = [i for i in found if i and all(w in i.text or w in i.name.lower() for w in words)]
        self._items = {item.name: item for item in found if item}
        return kept

    def _item(self, name: str) -> Item | None:
        known = self._items.get(name)
        try:
            path = sessions.path_of(name)
            modified = path.stat().st_mtime_ns
            if known is not None and known.modified == modified:
                return known
            messages = _decode(path.read_bytes()).messages
        except (OSError, ValueError, msgspec.MsgspecError):
            return None  # gone by now, or no conversation
        first = next((m.text for m in messages if m.role == "user" and m.text.strip()), "")
        text = "\n".join(message.text for message in messages)[:_SEARCHED].lower()
        return Item(name, title_of(name, first), modified, text)

    @staticmethod
    def changed(name: str) -> int:
        """Time of the last change of a conversation's file in nanoseconds, 0 if there is none."""
        try:
            return sessions.path_of(name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    @staticmethod
    def save(name: str, conversation: AsyncConversation) -> int:
        """Write a conversation; return the time of the change in nanoseconds."""
        sessions.save(name, conversation)
        return Library.changed(name)

    @staticmethod
    def rename(old: str, new: str) -> None:
        """Rename a conversation.

        Raises:
            ValidationError: the name cannot be used, or is taken.
            OSError: the file cannot be renamed.
        """
        source, target = sessions.path_of(old), sessions.path_of(new)
        if target.exists():
            raise ValidationError(f"There is a conversation named {new!r} already.", field="name")
        if source.exists():
            source.rename(target)

    @staticmethod
    def delete(name: str) -> None:
        """Delete a conversation's file, if there is one."""
        sessions.path_of(name).unlink(missing_ok=True)


def title_of(name: str, first: str) -> str:
    """The name of a conversation, or its first words where the name was made up.

    Args:
        name: the name it is saved under.
        first: the first message of the user, "" if there is none.
    """
    if not _MADE_UP.fullmatch(name):
        return name
    return " ".join(first.split())[:_TITLE] or "New chat"


def as_json(conversation: AsyncConversation) -> str:
    """The messages as JSON in the form of a chat request."""
    messages = msgspec.to_builtins(conversation.messages)
    return json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n"


def file_name(title: str, ending: str) -> str:
    """A file name that every system takes."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', title).strip('-.')[:60] or 'conversation'}.{ending}"
