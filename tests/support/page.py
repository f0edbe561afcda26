"""Chromium for the tests of the page, its benchmark and its screenshots."""

from __future__ import annotations

import shutil

__all__ = ["CHROMIUM_ARGUMENTS", "chromium_path"]

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
]
"""`--no-sandbox`, because tests may run as root in a container."""


def chromium_path() -> str | None:
    """Path of the system's Chromium, None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
