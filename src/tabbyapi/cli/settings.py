"""Settings that stand in for options: from the environment, then from the config file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .._files import replace_file
from .._folders import config_folder
from ..errors import ValidationError
from .files import read_text

__all__ = [
    "SETTINGS",
    "Found",
    "config_path",
    "find",
    "remove",
    "remove_server",
    "server_url",
    "servers",
    "store",
    "store_server",
    "value_of",
]

SETTINGS = {
    "url": "TABBY_API_ENDPOINT",
    "model": "TABBY_MODEL",
    "system": "TABBY_SYSTEM",
    "max_tokens": "TABBY_MAX_TOKENS",
    "temperature": "TABBY_TEMPERATURE",
}
"""Every setting, as it is called in the file, and its environment variable."""

_TYPES: dict[str, type] = {"max_tokens": int, "temperature": float}
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEEPEST = 100  # parts of a dotted key: tomllib's memory grows with their square
_TABLE = re.compile(r"\s*\[")


@dataclass(frozen=True)
class Found:
    """A setting, and where it came from: the name of a variable, or the path of the file."""

    value: Any
    origin: str


def config_path() -> Path:
    """The config file; it may not exist."""
    return config_folder() / "config.toml"


def find(name: str) -> Found | None:
    """A setting: from its environment variable, or from the file; None if neither has it.

    Raises:
        ValidationError: it is there and cannot be used.
        OSError: the file cannot be read.
    """
    variable = SETTINGS[name]
    text = os.environ.get(variable)
    if text:
        return Found(value_of(name, text, variable), variable)
    path = config_path()
    value = _read(path).get(name)
    return None if value is None else Found(value, str(path))


def value_of(name: str, text: str, where: str) -> Any:
    """A setting's value from what a person wrote.

    Args:
        name: the setting.
        text: the value, as text.
        where: what to call the place it was written in.

    Raises:
        ValidationError: it cannot be used.
    """
    try:
        value = _TYPES.get(name, str)(text)
    except ValueError:
        raise ValidationError(
            f"{where}: {name} is a number, not {text!r:.40}", field=name
        ) from None
    return _checked(name, value, where)


def store(name: str, value: Any) -> None:
    """Write a setting into the file, and leave the rest of the file as it is.

    Raises:
        ValidationError: the file cannot be read, or not be changed by us.
        OSError: it cannot be written.
    """
    path = config_path()
    expected = {**_read(path), name: value}
    lines = _lines(path)
    end = _next_table(lines, 0)
    at = _line_of(name, lines, 0, end)
    if at is None:
        while end < len(lines) and end > 0 and re.match(r"\s*(#|$)", lines[end - 1]):
            end -= 1  # comments above a table are the table's
        lines.insert(end, _assignment(name, value, lines))
    else:
        lines[at] = _assignment(name, value, lines, lines[at])
    _write(path, lines, expected, name)


def remove(name: str) -> bool:
    """Take a setting out of the file; False if it was not there.

    Raises:
        ValidationError, OSError: as `store`.
    """
    path = config_path()
    expected = _read(path)
    if expected.pop(name, None) is None:
        return False
    lines = _lines(path)
    at = _line_of(name, lines, 0, _next_table(lines, 0))
    if at is not None:
        del lines[at]
    _write(path, lines, expected, name)
    return True


def servers() -> dict[str, str]:
    """Addresses of the servers in the file, by name.

    Raises:
        ValidationError, OSError: the file cannot be read.
    """
    return {name: table["url"] for name, table in _read(config_path()).get("servers", {}).items()}


def server_url(name: str) -> str:
    """The address of a server by name.

    Raises:
        ValidationError: there is none of this name.
    """
    known = servers()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        if not known:
            advice = f"add it with: tabbyapi config add-server {name} --url URL"
        raise ValidationError(f"there is no server {name!r}; {advice}", field="server")
    return known[name]


def store_server(name: str, url: str) -> None:
    """Write a server's name and address into the file.

    Raises:
        ValidationError: no name or address for a server; or as `store`.
        OSError: as `store`.
    """
    if not _SERVER_NAME.fullmatch(name):
        raise ValidationError(
            f"{name!r} is no name for a server: letters, digits, '-' and '_'", field="name"
        )
    url = _checked("url", url, "--url")
    path = config_path()
    expected = _read(path)
    expected["servers"] = {**expected.get("servers", {}), name: {"url": url}}
    lines = _lines(path)
    start = _table_of(name, lines)
    if start is None:
        ended = "\r" if lines[0].endswith("\r") else ""
        while lines and not lines[-1].strip():
            lines.pop()
        gap = [ended] if lines else []
        lines += [*gap, f"[servers.{name}]{ended}", _assignment("url", url, [ended]), ""]
    else:
        at = _line_of("url", lines, start + 1, _next_table(lines, start + 1))
        if at is not None:
            lines[at] = _assignment("url", url, lines, lines[at])
    _write(path, lines, expected, name)


def remove_server(name: str) -> bool:
    """Take a server out of the file; False if it was not there.

    Raises:
        ValidationError, OSError: as `store`.
    """
    path = config_path()
    expected = _read(path)
    if expected.get("servers", {}).pop(name, None) is None:
        return False
    if not expected["servers"]:
        del expected["servers"]
    lines = _lines(path)
    start = _table_of(name, lines)
    if start is not None:
        del lines[start : _next_table(lines, start + 1)]
    _write(path, lines, expected, name)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        return {}
    deep = any(line.partition("=")[0].count(".") > _DEEPEST for line in text.split("\n"))
    try:
        values = {} if deep else tomllib.loads(text)
    except RecursionError:
        deep = True
    except ValueError as error:  # of TOML, or of a number with thousands of digits
        raise ValidationError(f"{path} cannot be read: {error}") from None
    if deep:
        raise ValidationError(f"{path} cannot be read: nested too deeply")
    for name, value in values.items():
        if name == "servers":
            _check_servers(value, path)
            continue
        if name not in SETTINGS:
            close = get_close_matches(name, SETTINGS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}"
            raise ValidationError(f"{path}: there is no setting {name!r}; {advice}", field=name)
        _checked(name, value, str(path))
    return values


def _check_servers(value: Any, path: Path) -> None:
    tables = value if isinstance(value, dict) else {"": None}
    for name, table in tables.items():
        if not isinstance(table, dict) or table.keys() != {"url"}:
            raise ValidationError(
                f'{path}: a server is written as a table [servers.NAME] with url = "..."',
                field="servers",
            )
        _checked("url", table["url"], f"{path}: servers.{name}")


def _checked(name: str, value: Any, where: str) -> Any:
    from .._protocol.endpoint import normalised_url
    from .._protocol.requests.rules import rule_of, rules_of
    from ..types.params import ChatParams

    try:
        if name == "url":
            return normalised_url(rule_of(str)(name, value))
        rule = rule_of(str) if name == "system" else rules_of(ChatParams)[name]
        return rule(name, value)
    except ValidationError as error:
        raise ValidationError(f"{where}: {error}", field=name) from None


# ------------------------------------------------------------------ changing single lines


def _lines(path: Path) -> list[str]:
    """The file's lines without their line feeds: what is not changed is written as it was.

    The last one is "" if the file ends with a line feed, as all files should.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (FileNotFoundError, UnicodeDecodeError):  # UTF-16 is written as UTF-8
        lines = read_text(path).split("\n") if path.exists() else [""]
    return lines if not lines[-1] else [*lines, ""]


def _next_table(lines: list[str], start: int) -> int:
    """Line where the next table begins, or the end of the file if there is none."""
    found = (i for i in range(start, len(lines)) if _TABLE.match(lines[i]))
    return next(found, len(lines) - 1)


def _table_of(server: str, lines: list[str]) -> int | None:
    pattern = re.compile(rf"\s*\[\s*servers\s*\.\s*{re.escape(server)}\s*\]")
    return next((i for i, line in enumerate(lines) if pattern.match(line)), None)


def _line_of(name: str, lines: list[str], start: int, stop: int) -> int | None:
    pattern = re.compile(rf"\ufeff?\s*{name}\s*=")
    return next((i for i in range(start, stop) if pattern.match(lines[i])), None)


def _assignment(name: str, value: Any, lines: list[str], old: str = "") -> str:
    """A line of TOML, which takes JSON's strings but for one character.

    Args:
        lines: the others, whose line ends it gets.
        old: the line that it replaces, whose comment it gets.
    """
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    mark = "\ufeff" if old.startswith("\ufeff") else ""
    ended = "\r" if lines[0].endswith("\r") else ""
    return f"{mark}{name} = {text}{_comment(old)}{ended}"


def _comment(line: str) -> str:
    """The comment at the end of a line, with the space before it."""
    line = line.removeprefix("\ufeff").rstrip("\r")
    for found in re.finditer("#", line):
        before = line[: found.start()]
        try:
            tomllib.loads(before)
        except ValueError:  # this "#" is inside a string
            continue
        return line[len(before.rstrip()) :]
    return ""


def _write(path: Path, lines: list[str], expected: dict[str, Any], name: str) -> None:
    text = "\n".join(lines)
    try:
        right = tomllib.loads(text.removeprefix("\ufeff")) == expected
    except ValueError:
        right = False
    if not right:
        raise ValidationError(f"{name} is not written on one line of its own: change it in {path}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, text, private=not path.exists())
