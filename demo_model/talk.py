"""A conversation under construction, and the reader for data files made of sections."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .lexicon import lines

UNKNOWN = (
    "I am a tiny demo model and do not know that. "
    "Ask me about TabbyAPI, this library, chat APIs or sampling."
)

Style = Callable[[str, str], str]


def plain(full: str, short: str) -> str:
    """The usual style: the full answer."""
    return full


@dataclass
class Talk:
    """Messages so far, and how the assistant has to answer (`style`, set by the system message).

    `held` says that names, cities, numbers and things come from what is held back, `reword` that
    the wording of requests and rules does too.
    """

    rng: random.Random
    held: bool = False
    reword: bool = False
    style: Style = plain
    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)

    def system(self, text: str) -> None:
        self.messages.insert(0, {"role": "system", "content": text})

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def answer(self, full: str, short: str | None = None) -> None:
        content = full if short is None else self.style(full, short)
        self.messages.append({"role": "assistant", "content": content})

    def exchange(self, question: str, full: str, short: str | None = None) -> None:
        self.user(question)
        self.answer(full, short)


@cache
def sections(name: str) -> dict[str, tuple[str, ...]]:
    """A file of `[section]` headings, each with one line of alternatives joined by ` | `."""
    found: dict[str, tuple[str, ...]] = {}
    title = ""
    for line in lines(name):
        if line.startswith("[") and line.endswith("]"):
            title = line[1:-1]
        else:
            found[title] = tuple(part.strip() for part in line.split(" | "))
    return found


def one_word(full: str, short: str) -> str:
    """The one-word style."""
    return short


def capitals(full: str, short: str) -> str:
    """The style of capitals: short, since long texts in capitals cost the model too much."""
    return f"{short.upper()}."


def choose(rng: random.Random, options: tuple[str, ...], *, held: bool) -> str:
    """One of the options: the last one where it is held back, any other in training."""
    return options[-1] if held else rng.choice(options[:-1])
