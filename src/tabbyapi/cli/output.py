"""Plain output: what goes into a pipe or a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TextIO

__all__ = ["lenient", "write_answer"]


def lenient(*files: TextIO) -> None:
    """Lets odd bytes and characters pass as replacement characters instead of failing."""
    for file in files:
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="replace")


def write_answer(deltas: Iterable[str]) -> None:
    """Writes an answer to standard output as it comes, and ends its last line."""
    last = ""
    for delta in deltas:
        sys.stdout.write(delta)
        sys.stdout.flush()
        last = delta
    if not last.endswith("\n"):
        sys.stdout.write("\n")
        sys.stdout.flush()
