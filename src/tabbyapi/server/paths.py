"""Folders of this machine's user that the server keeps things in."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

__all__ = ["data_folder", "models_folder"]


def data_folder() -> Path:
    """Where lasting files go (generated keys)."""
    return user_data_path("py-tabbyapi", appauthor=False)


def models_folder() -> Path:
    """Where fetched models go: TABBY_MODELS_DIR, else a folder in the user's cache."""
    named = os.environ.get("TABBY_MODELS_DIR")
    if named:
        return Path(named).expanduser().absolute()
    return user_cache_path("py-tabbyapi", appauthor=False) / "models"
