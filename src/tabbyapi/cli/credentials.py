"""Keys of servers, each sent to its own server only: in the keyring if there is one, otherwise
in a file that only its owner can read.

The file also lists the keys in the keyring: opening the keyring takes a while and may ask for a
password, so it is opened only for a key that is in it.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from .._folders import config_folder
from ..errors import ValidationError
from .files import read_text, readable_by_others, write_privately
from .output import warn

__all__ = ["KeyName", "Place", "forget_key", "keys_path", "place_of_key", "store_key", "stored_key"]

KeyName = Literal["api_key", "admin_key"]
Place = Literal["keyring", "file"]

_SERVICE = "py-tabbyapi"
_IN_KEYRING = None  # what the file holds in the key's place

_Stored = dict[str, dict[str, str | None]]


def keys_path() -> Path:
    """The file of keys; it may not exist."""
    return config_folder() / "credentials.json"


def stored_key(url: str, name: KeyName) -> str | None:
    """The stored key of a server, None if there is none.

    Raises:
        ValidationError: the file holds something else, or others can read it.
        OSError: it cannot be read.
    """
    keys = _read().get(url, {})
    if name not in keys:
        return None
    key = keys[name]
    return _from_keyring(url, name) if key is _IN_KEYRING else key


def place_of_key(url: str, name: KeyName) -> Place | None:
    """Source of a server's stored key; does not read the key."""
    keys = _read().get(url, {})
    if name not in keys:
        return None
    return "keyring" if keys[name] is _IN_KEYRING else "file"


def store_key(url: str, name: KeyName, key: str, *, in_file: bool = False) -> Place:
    """Store the key of a server; returns where.

    Args:
        url: the server's root.
        name: which of its keys.
        key: the key.
        in_file: not in the keyring, even if there is one.

    Raises:
        ValidationError, OSError: as `stored_key`.
    """
    stored = _read()
    place: Place = "file" if in_file or not _into_keyring(url, name, key) else "keyring"
    if place == "file" and stored.get(url, {}).get(name, "") is _IN_KEYRING:
        _out_of_keyring(url, name)
    stored.setdefault(url, {})[name] = _IN_KEYRING if place == "keyring" else key
    _write(stored)
    return place


def forget_key(url: str, name: KeyName) -> bool:
    """Remove the key of a server; False if there was none.

    Raises:
        ValidationError, OSError: as `stored_key`.
    """
    stored = _read()
    keys = stored.get(url, {})
    if name not in keys:
        return False
    if keys.pop(name) is _IN_KEYRING:
        _out_of_keyring(url, name)
    if not keys:
        del stored[url]
    _write(stored)
    return True


def _read() -> _Stored:
    path = keys_path()
    if not path.exists():
        return {}
    if readable_by_others(path):
        raise ValidationError(
            f"{path} holds keys, and others on this machine can read it: chmod 600 '{path}'"
        )
    try:
        stored = json.loads(read_text(path))
    except (ValueError, RecursionError):
        stored = None
    if not _is_a_store(stored):
        raise ValidationError(f"{path} is not a file of keys: delete it, and set the keys anew")
    found: _Stored = stored
    return found


def _is_a_store(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(keys, dict) and all(isinstance(key, str | None) for key in keys.values())
        for keys in content.values()
    )


def _write(stored: _Stored) -> None:
    write_privately(keys_path(), json.dumps(stored, indent=1) + "\n")


def _keyring() -> Any:
    """The package `keyring`, None if it is not installed."""
    return None if find_spec("keyring") is None else import_module("keyring")


def _account(url: str, name: KeyName) -> str:
    return f"{name} {url}"


def _into_keyring(url: str, name: KeyName, key: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, _account(url, name), key)
    except keyring.errors.KeyringError as error:
        warn(f"The keyring takes no key ({_reason(error)}): using a file instead.")
        return False
    return True


def _from_keyring(url: str, name: KeyName) -> str | None:
    keyring = _keyring()
    if keyring is None:
        warn(f"The key for {url} is in the keyring, and the package keyring is not installed.")
        return None
    try:
        key: str | None = keyring.get_password(_SERVICE, _account(url, name))
    except keyring.errors.KeyringError as error:
        warn(f"The keyring does not give the key for {url} ({_reason(error)}).")
        return None
    return key


def _out_of_keyring(url: str, name: KeyName) -> None:
    keyring = _keyring()
    if keyring is None:
        return
    try:
        keyring.delete_password(_SERVICE, _account(url, name))
    except keyring.errors.KeyringError as error:
        warn(f"The old key stays in the keyring ({_reason(error)}).")


def _reason(error: Exception) -> str:
    """One line, without what a backend may say of the key itself."""
    return type(error).__name__
