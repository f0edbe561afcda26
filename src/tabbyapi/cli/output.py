"""Output of all commands: text for people, JSON for programs.

A server or a model may send escape sequences that retitle a terminal, fill the clipboard or
reorder a line. So all output goes through `put`: a terminal gets text that it cannot act on, a
pipe or a file gets the text as it came.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import click

__all__ = ["accept_any_text", "json_option", "printable", "put", "show", "warn", "write_answer"]

F = TypeVar("F", bound=Callable[..., Any])


class _Decorator(Protocol):
    def __call__(self, command: F, /) -> F: ...


json_option: _Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_CONTROLS = [c for c in [*range(0x20), *range(0x7F, 0xA0)] if c not in (0x09, 0x0A)]
_PRINTABLE = dict.fromkeys(_CONTROLS, "\ufffd") | dict.fromkeys([0x0D, *_BIDI], "")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f" + "".join(map(chr, _BIDI)) + "]")


def printable(text: str) -> str:
    """The text without characters that a terminal acts on: C0 and C1 controls, bidi controls."""
    return text.translate(_PRINTABLE)


def put(text: str, *, end: str = "\n", err: bool = False) -> None:
    """Write text at once, to standard output or (`err`) standard error."""
    stream = sys.stderr if err else sys.stdout
    stream.write((printable(text) if stream.isatty() else text) + end)
    stream.flush()


def warn(text: str) -> None:
    """A line for the person, beside the output."""
    put(text, err=True)


def show(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a value as JSON, or the lines that say the same to a person."""
    if as_json:
        put(_json_text(value))
        return
    for line in lines:
        put(line)


def write_answer(deltas: Iterable[str]) -> None:
    """Write an answer to standard output as it comes, and end its last line."""
    last = ""
    for delta in deltas:
        put(delta, end="")
        last = delta
    if not last.endswith("\n"):
        put("")


def accept_any_text() -> None:
    """Write "?" for characters that an output's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _json_text(value: Any) -> str:
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return re.sub("[^\x00-\x7f]", _escaped, text)
    return _UNSAFE_IN_JSON.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    return json.dumps(character[0])[1:-1]
