"""The clipboard: by a program of this desktop if there is one, otherwise by the terminal."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

__all__ = ["put_on_clipboard"]

_SURE = 74_994  # bytes that xterm and others accept by OSC 52; several drop longer texts


def put_on_clipboard(text: str, write: Callable[[str], object]) -> str:
    """Put text on the clipboard; returns a sentence about how."""
    tool = _tool()
    content = text.encode()
    if tool is not None and _hand_over(tool, content):
        return f"Copied {len(text):,} characters."
    # OSC 52: the terminal puts it on the clipboard, through SSH as well. It never answers.
    write(f"\x1b]52;c;{base64.b64encode(content).decode()}\x07")
    told = f"Handed {len(text):,} characters to the terminal's clipboard."
    if len(content) > _SURE:
        told += f" Many terminals ignore more than {_SURE:,} bytes: check before you rely on it."
    return told


def _tool() -> list[str] | None:
    """Command of the desktop's clipboard program; None over SSH or without one."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return None
    candidates: list[list[str]] = []
    if sys.platform == "darwin":
        candidates.append(["pbcopy"])
    if os.environ.get("WAYLAND_DISPLAY"):
        candidates.append(["wl-copy"])
    if os.environ.get("DISPLAY"):
        candidates += [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    return next((tool for tool in candidates if shutil.which(tool[0])), None)


def _hand_over(tool: list[str], content: bytes) -> bool:
    """Hand the content to the program; True if it succeeded."""
    quiet = subprocess.DEVNULL  # a tool that stays to serve the clipboard must hold no pipe
    try:
        done = subprocess.run(
            tool, input=content, stdout=quiet, stderr=quiet, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
