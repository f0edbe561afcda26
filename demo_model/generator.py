"""Mixes the skills into conversations. The same seed always makes the same conversation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import extraction, recall, rules, smalltalk, tool_use
from .talk import Talk

# What share of the conversations trains which skill.
MIX = {"chat": 36, "recall": 24, "rules": 14, "tools": 16, "extraction": 9, "long": 1}
_LONG_MESSAGES = 40


@dataclass(frozen=True)
class Conversation:
    """Messages as the chat API has them, and the tools that were on offer."""

    kind: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


def _chat(talk: Talk, turns: int) -> None:
    options = (smalltalk.known, smalltalk.chatter, smalltalk.unknown)
    for _ in range(turns):
        talk.rng.choices(options, weights=(76, 12, 12))[0](talk)


def conversation(seed: int, *, kind: str | None = None) -> Conversation:
    """The training conversation number `seed`, of any kind or of the given one (see MIX)."""
    rng = random.Random(f"train {seed}")
    kind = kind or rng.choices(list(MIX), weights=list(MIX.values()))[0]
    talk = Talk(rng)
    if kind == "chat":
        _chat(talk, rng.choice((1, 1, 2, 3, 4)))
    elif kind == "recall":
        recall.dialogue(talk, distance=rng.choice((0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8)))
    elif kind == "rules":
        rules.obey(talk, rng.choice(rules.RULES))
    elif kind == "tools":
        tool_use.session(talk)
    elif kind == "extraction":
        extraction.extract(talk)
    elif kind == "long":
        while len(talk.messages) < _LONG_MESSAGES:
            recall.dialogue(talk, distance=rng.randint(0, 4))
    else:
        raise ValueError(f"unknown kind of conversation {kind!r}; known: {', '.join(MIX)}")
    if talk.messages[0]["role"] != "system" and rng.random() < 0.45:
        rules.neutral(talk)
    return Conversation(kind, talk.messages, talk.tools)


def conversations(start: int, count: int) -> Iterator[Conversation]:
    """`count` conversations from number `start` on."""
    for seed in range(start, start + count):
        yield conversation(seed)
