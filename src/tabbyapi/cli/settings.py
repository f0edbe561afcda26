"""What the commands take where no option says it: the environment, then the config file."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import ValidationError
from .files import config_folder, write_privately

__all__ = ["SETTINGS", "Found", "config_path", "find", "remove", "store", "value_of"]

SETTINGS = {
    "url": "TABBY_API_ENDPOINT",
    "model": "TABBY_MODEL",
    "system": "TABBY_SYSTEM",
    "max_tokens": "TABBY_MAX_TOKENS",
    "temperature": "TABBY_TEMPERATURE",
}
"""Every setting, as it is called in the file, and its environment variable."""

_TYPES: dict[str, type] = {"max_tokens": int, "temperature": float}


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
        raise ValidationError(f"{where}: {name} is a number, not {text!r}", field=name) from None
    return _checked(name, value, where)


def store(name: str, value: Any) -> None:
    """Writes a setting into the file, and leaves the rest of it as it is.

    Raises:
        ValidationError: the file cannot be read, or not be changed by us.
        OSError: it cannot be written.
    """
    path = config_path()
    _replace(path, name, f"{name} = {_toml(value)}", {**_read(path), name: value})


def remove(name: str) -> bool:
    """Takes a setting out of the file; False if it was not there.

    Raises:
        ValidationError, OSError: as `store`.
    """
    path = config_path()
    values = _read(path)
    if values.pop(name, None) is None:
        return False
    _replace(path, name, None, values)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} cannot be read: {error}") from None
    for name, value in values.items():
        if name not in SETTINGS:
            close = get_close_matches(name, SETTINGS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}"
            raise ValidationError(f"{path}: there is no setting {name!r}; {advice}", field=name)
        _checked(name, value, str(path))
    return values


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


def _toml(value: Any) -> str:
    """A string or number as TOML, which takes JSON's strings but for one character."""
    import json

    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replace(path: Path, name: str, line: str | None, expected: dict[str, Any]) -> None:
    """Changes one line of the file, or adds it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pattern = re.compile(rf"\s*{name}\s*=")
    at = next((i for i, old in enumerate(lines) if pattern.match(old)), len(lines))
    lines[at : at + 1] = [] if line is None else [line]
    text = "".join(f"{line}\n" for line in lines)
    try:
        right = tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        right = False
    if not right:
        raise ValidationError(f"{name} is written over several lines: change it in {path}")
    write_privately(path, text)
