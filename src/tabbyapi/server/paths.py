"""Folders of this machine's user that the server keeps things in."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Where lasting files go (generated keys)."""
    return user_data_path("py-tabbyapi", appauthor=False)
