"""Folders of this machine's user that the server keeps things in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "data_folder"]

_NAME = "py-tabbyapi"


def _folder(variable: str, fallback: str, mac: str) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac / _NAME
    return Path(os.environ.get(variable) or Path.home() / fallback) / _NAME


def data_folder() -> Path:
    """Where lasting files go (generated keys)."""
    return _folder("XDG_DATA_HOME", ".local/share", "Application Support")


def cache_folder() -> Path:
    """Where files go that can be made again."""
    return _folder("XDG_CACHE_HOME", ".cache", "Caches")
