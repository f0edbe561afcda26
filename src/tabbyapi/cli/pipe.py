"""A conversation over pipes: each line in is a turn, each answer goes out as it comes."""

from __future__ import annotations

import sys

from .dialogue import Dialogue
from .output import lenient, write_answer

__all__ = ["answer_lines"]


def answer_lines(dialogue: Dialogue) -> None:
    """Answers standard input line by line, until its end.

    Raises:
        TabbyError: a turn failed; the ones after it would hang in the air.
    """
    lenient(sys.stdin, sys.stdout)
    for line in sys.stdin:
        text = line.strip()
        if text:
            with dialogue.turn(text) as stream:
                write_answer(stream.text_deltas())
