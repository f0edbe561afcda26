"""Folders of this machine's user: settings, lasting data, and what can be fetched again.

As each system has it: XDG's variables on Linux and the like, `~/Library` on macOS, `%LOCALAPPDATA%`
on Windows. None of them needs to exist.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "config_folder", "data_folder", "models_folder"]

_NAME = "py-tabbyapi"


def config_folder() -> Path:
    """Settings and keys that the user has given."""
    return _folder("XDG_CONFIG_HOME", ".config")


def data_folder() -> Path:
    """Conversations, and keys that the local server has made up."""
    return _folder("XDG_DATA_HOME", ".local/share")


def cache_folder() -> Path:
    """What can be fetched again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _NAME
    folder = _folder("XDG_CACHE_HOME", ".cache")
    return folder / "Cache" if os.name == "nt" else folder


def models_folder() -> Path:
    """Fetched models: TABBY_MODELS_DIR, else a folder in the user's cache."""
    named = os.environ.get("TABBY_MODELS_DIR")
    return Path(named).expanduser().absolute() if named else cache_folder() / "models"


def _folder(variable: str, default: str) -> Path:
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _NAME
    named = os.environ.get(variable, "")
    return (Path(named) if os.path.isabs(named) else Path.home() / default) / _NAME
