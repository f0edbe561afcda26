"""Save conversations to files and load them: versioned JSON.

What has no JSON form among the parameters (functions, hooks, types, a `Timeout`) is left out,
never the conversation: the file names it, and loading says what to give again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .._files import replace_file
from .._protocol.decode import too_deep
from ..errors import ValidationError
from ..types.messages import ChatMessage
from .entries import Entry, entry_of
from .settings import Settings
from .state import State
from .token_counts import TokenCounts

__all__ = ["VERSION", "load", "save"]

VERSION = 1
_FORMAT = "tabbyapi.conversation"
_log = logging.getLogger("tabbyapi.conversation")


class _File(msgspec.Struct, kw_only=True):
    """The file. A newer version may add fields; a change of meaning raises `version`."""

    format: str = msgspec.field(default_factory=str)
    version: int = msgspec.field(default_factory=int)
    on_overflow: str = "truncate"
    keep_partial: bool = True
    summary_prompt: str
    session_id: str | None = None
    params: dict[str, Any] = {}
    left_out: list[str] = []
    context_size: int | None = None
    system: list[msgspec.Raw] = []
    messages: list[msgspec.Raw]
    summary: str = ""
    start: int = 0
    # The server's counts, so that a loaded conversation need not be counted anew.
    bounds: list[int] = []
    token_counts: TokenCounts = msgspec.field(default_factory=TokenCounts)


_decode = msgspec.json.Decoder(_File).decode


def save(path: Path, settings: Settings, state: State) -> None:
    """Write the file; see `Conversation.save`.

    Raises:
        OSError: the file cannot be written.
    """
    params, left_out = _writable(settings.params)
    content = _File(
        format=_FORMAT,
        version=VERSION,
        on_overflow=settings.on_overflow,
        keep_partial=settings.keep_partial,
        summary_prompt=settings.summary_prompt,
        session_id=settings.session_id,
        params=params,
        left_out=sorted({*settings.left_out, *left_out}),
        context_size=state.context if state.fixed else None,
        system=[entry.raw for entry in state.system],
        messages=[entry.raw for entry in state.entries],
        summary=state.summary,
        start=state.start,
        bounds=[entry.bound for entry in state.entries],
        token_counts=state.token_counts,
    )
    replace_file(path, msgspec.json.format(msgspec.json.encode(content), indent=1))


def load(path: Path, changes: Mapping[str, Any]) -> tuple[Settings, State]:
    """Read the settings and the state of a saved conversation, and change some settings.

    Logs a warning that names parameters which the file could not hold and `changes` lacks.

    Raises:
        ValidationError: the file is no conversation, or of a newer version, or a change cannot
            be used.
        OSError: it cannot be read.
    """
    file, state = _read(path)
    names = ("on_overflow", "keep_partial", "summary_prompt", "session_id")
    own = {name: getattr(file, name) for name in names}
    own |= {name: value for name, value in changes.items() if name in own}
    size = changes.get("context_size")
    if size is not None:
        state.context, state.fixed = size, True
    params = {k: v for k, v in changes.items() if k not in own and k != "context_size"}
    missing = [name for name in file.left_out if name.partition(" ")[0] not in params]
    if missing:
        _log.warning(
            "%s was saved without what a file cannot hold: %s. Give it again when loading: "
            "load_conversation(path, %s=...)",
            path,
            ", ".join(missing),
            missing[0].partition(" ")[0],
        )
    return Settings(**own, params={**file.params, **params}, left_out=missing), state


def _read(path: Path) -> tuple[_File, State]:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # editors on Windows add a BOM
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} is no JSON file: {error}", field="path") from None
    except RecursionError:
        raise ValidationError(
            f"{path} is no saved conversation: {too_deep(data)}", field="path"
        ) from None
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
    except (msgspec.DecodeError, ValidationError, RecursionError) as error:
        raise ValidationError(f"{path} is damaged: {error}", field="path") from None
    if len(file.bounds) == len(entries):
        entries = [
            entry.at_most(max(bound, 0)) for entry, bound in zip(entries, file.bounds, strict=True)
        ]
    state = State(
        system=system,
        entries=entries,
        start=min(max(file.start, 0), len(entries)),
        summary=file.summary,
        token_counts=file.token_counts,
        context=file.context_size,
        fixed=file.context_size is not None,
    )
    state.token_counts.cut(len(entries))
    return file, state


def _entry(raw: msgspec.Raw, field: str) -> Entry:
    return entry_of(msgspec.json.decode(raw, type=ChatMessage), field)


def _writable(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The parameters that a file can hold, and the names of the others."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in params.items():
        if name == "tools" and isinstance(value, list | tuple):
            kept_tools = [item for item in value if isinstance(item, Mapping) and _is_plain(item)]
            functions = [_tool_name(item) for item in value if item not in kept_tools]
            if kept_tools:
                kept[name] = kept_tools
            if functions:
                left_out.append(f"tools ({', '.join(functions)})")
        elif _is_plain(value):
            kept[name] = value
        else:
            left_out.append(name)
    return kept, left_out


def _is_plain(value: Any) -> bool:
    """True for numbers, strings, and lists and dicts of them: what JSON gives back unchanged."""
    if isinstance(value, msgspec.Struct):
        return False
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return False
    return True


def _tool_name(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(item.get("function", {}).get("name"))
    return str(getattr(item, "name", None) or getattr(item, "__name__", None) or item)
