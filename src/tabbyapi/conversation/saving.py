"""Conversations in files: versioned JSON, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .._files import replace_file
from ..errors import ValidationError
from ..types.messages import ChatMessage
from .entries import Entry, entry_of
from .state import State
from .token_counts import Ledger

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["VERSION", "load", "save"]

VERSION = 1
_FORMAT = "tabbyapi.conversation"


class _File(msgspec.Struct, kw_only=True):
    """The file. A newer version may add fields; a change of meaning raises `version`."""

    format: str = msgspec.field(default_factory=str)
    version: int = msgspec.field(default_factory=int)
    on_overflow: str = "truncate"
    keep_partial: bool = True
    summary_prompt: str
    params: dict[str, Any] = {}
    context_size: int | None = None
    system: list[msgspec.Raw] = []
    messages: list[msgspec.Raw]
    summary: str = ""
    start: int = 0
    # What the server's counts were, so that a loaded conversation need not be counted anew.
    bounds: list[int] = []
    ledger: Ledger = msgspec.field(default_factory=Ledger)


_decode = msgspec.json.Decoder(_File).decode


def save(path: Path, settings: Settings, state: State) -> None:
    """Writes the file beside `path` and moves it there: readers see the old one or the new one.

    Raises:
        ValidationError: a parameter has no JSON form.
        OSError: the file cannot be written.
    """
    content = _File(
        format=_FORMAT,
        version=VERSION,
        on_overflow=settings.on_overflow,
        keep_partial=settings.keep_partial,
        summary_prompt=settings.summary_prompt,
        params=_plain_params(settings.params),
        context_size=state.context if state.fixed else None,
        system=[entry.raw for entry in state.system],
        messages=[entry.raw for entry in state.entries],
        summary=state.summary,
        start=state.start,
        bounds=[entry.bound for entry in state.entries],
        ledger=state.ledger,
    )
    data = msgspec.json.format(msgspec.json.encode(content), indent=1)
    replace_file(path, data)


def load(path: Path) -> tuple[dict[str, Any], State]:
    """Settings and state of a saved conversation.

    Raises:
        ValidationError: the file is no conversation, or of a newer version.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} is no JSON file: {error}", field="path") from None
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ValidationError(f"{path} is no saved conversation", field="path")
    version = head.get("version")
    if version != VERSION:
        raise ValidationError(
            f"{path} is a conversation of version {version}; this release reads version "
            f"{VERSION}. Update py-tabbyapi to read it",
            field="path",
        )
    try:
        file = _decode(data)
        system = [_entry(raw, f"system[{i}]") for i, raw in enumerate(file.system)]
        entries = [_entry(raw, f"messages[{i}]") for i, raw in enumerate(file.messages)]
    except (msgspec.DecodeError, ValidationError) as error:
        raise ValidationError(f"{path} is damaged: {error}", field="path") from None
    ledger = file.ledger
    if len(file.bounds) == len(entries):
        entries = [
            entry.at_most(max(bound, 0)) for entry, bound in zip(entries, file.bounds, strict=True)
        ]
    state = State(
        system=system,
        entries=entries,
        start=min(max(file.start, 0), len(entries)),
        summary=file.summary,
        ledger=ledger,
        context=file.context_size,
        fixed=file.context_size is not None,
    )
    ledger.cut(len(entries))
    settings = {
        "on_overflow": file.on_overflow,
        "keep_partial": file.keep_partial,
        "summary_prompt": file.summary_prompt,
        "params": file.params,
    }
    return settings, state


def _entry(raw: msgspec.Raw, field: str) -> Entry:
    return entry_of(msgspec.json.decode(raw, type=ChatMessage), field)


def _plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a file can hold."""
    plain = {name: value for name, value in params.items() if name != "timeout"}
    tools = plain.get("tools")
    if tools is not None:
        plain["tools"] = [item for item in tools if isinstance(item, dict)]
        if not plain["tools"]:
            del plain["tools"]
    for name, value in plain.items():
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError) as error:
            raise ValidationError(
                f"{name} cannot be saved: {error}. Give it again at each send instead", field=name
            ) from None
    return plain
