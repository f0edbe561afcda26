"""Questions and answers: reads data/qa, makes paraphrases, and keeps some of them back.

Two kinds of question are held back. *Patterned*: a share of the sentences that a pattern of
paraphrases.txt and a subject make together. *Handwritten*: the last of three or more questions
written by hand, whose wording occurs nowhere in training.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

from .lexicon import DATA, is_held, lines

HELD_PERCENT = 12


@dataclass(frozen=True)
class Entry:
    """One answer with everything that asks for it."""

    name: str
    answer: str
    short: str
    parent: str = ""
    smalltalk: bool = False
    # (question, was made from a pattern)
    train: tuple[tuple[str, bool], ...] = field(default=(), repr=False)
    held_patterned: tuple[str, ...] = field(default=(), repr=False)
    held_handwritten: tuple[str, ...] = field(default=(), repr=False)


def normal(question: str) -> str:
    """What counts as the same question: letters and digits alone, in lower case."""
    return " ".join(re.findall(r"[a-z0-9_\[\]<>|./#+-]+", question.lower())).strip(". ")


@cache
def patterns() -> dict[str, tuple[str, ...]]:
    """The paraphrase patterns by kind (w, h, c, d) and the frames."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines("paraphrases.txt"):
        kind, _, pattern = line.partition(": ")
        found[kind].append(pattern)
    return {kind: tuple(values) for kind, values in found.items()}


def _upper_first(text: str) -> str:
    # Identifiers keep their case at the start of a sentence.
    first = text.split(" ")[0]
    return text if re.search(r"[_./()\d]", first) else text[:1].upper() + text[1:]


def _patterned(kind: str, subject: str) -> list[str]:
    if kind == "d":
        a, b = (part.strip() for part in re.split(r" \| | and ", subject, maxsplit=1))
        made = [p.format(a=a, b=b) for p in patterns()["d"]]
    else:
        made = [p.format(subject) for p in patterns()[kind]]
    return [_upper_first(q) if not q.startswith("{") else q for q in made]


def _entry(name: str, fields: dict[str, list[str]], *, smalltalk: bool) -> Entry:
    own, _, parent = (part.strip() for part in name.partition("<"))
    if len(fields["a"]) != 1 or len(fields["s"]) != 1:
        raise ValueError(f"entry [{name}] needs exactly one a: and one s: line")
    hand = [q.strip() for line in fields["q"] for q in line.split(" | ")]
    held_hand = {normal(hand[-1])} if len(hand) >= 3 else set()
    train: list[tuple[str, bool]] = [(q, False) for q in hand if normal(q) not in held_hand]
    held_patterned = []
    trained = {normal(q) for q, _ in train}
    for kind in "whcd":
        for line in fields[kind]:
            subjects = [line] if kind == "d" else line.split(" | ")
            for subject in subjects:
                for question in _patterned(kind, subject.strip()):
                    key = normal(question)
                    if key in held_hand:
                        continue
                    if key not in trained and is_held(key, HELD_PERCENT):
                        held_patterned.append(question)
                    else:
                        train.append((question, True))
    return Entry(
        name=own,
        answer=fields["a"][0],
        short=fields["s"][0],
        parent=parent,
        smalltalk=smalltalk,
        train=tuple(train),
        held_patterned=tuple(dict.fromkeys(held_patterned)),
        held_handwritten=tuple(q for q in hand if normal(q) in held_hand),
    )


@cache
def entries() -> dict[str, Entry]:
    """All entries by name. Raises ValueError for an unclear data file."""
    found: dict[str, Entry] = {}
    for path in sorted((DATA / "qa").glob("*.txt")):
        name, fields = "", defaultdict[str, list[str]](list)
        for line in [*lines(f"qa/{path.name}"), "[end]"]:
            if line.startswith("[") and line.endswith("]") and ": " not in line:
                if name:
                    entry = _entry(name, fields, smalltalk=path.stem == "smalltalk")
                    if entry.name in found:
                        raise ValueError(f"{path.name}: entry [{entry.name}] occurs twice")
                    found[entry.name] = entry
                name, fields = line[1:-1], defaultdict(list)
            else:
                key, colon, value = line.partition(": ")
                if not colon or key not in "whcdqas":
                    raise ValueError(f"{path.name}, entry [{name}]: unclear line: {line!r}")
                fields[key].append(value.strip())
    _refuse_ambiguity(found)
    return found


def _refuse_ambiguity(found: dict[str, Entry]) -> None:
    owner: dict[str, Entry] = {}
    for entry in found.values():
        if entry.parent and entry.parent not in found:
            raise ValueError(f"entry [{entry.name}] has the unknown parent {entry.parent!r}")
        if entry.parent:
            continue
        questions = [q for q, _ in entry.train] + [*entry.held_patterned, *entry.held_handwritten]
        for question in questions:
            other = owner.setdefault(normal(question), entry)
            if other is not entry:
                raise ValueError(f"{question!r} asks for [{other.name}] and for [{entry.name}]")


def ask(rng: random.Random, entry: Entry) -> str:
    """A training question for the entry, in one of the frames."""
    hand = [q for q, made in entry.train if not made]
    made = [q for q, made in entry.train if made]
    question = rng.choice(hand if not made or (hand and rng.random() < 0.4) else made)
    return frame(rng, question, plain=entry.smalltalk)


def frame(rng: random.Random, question: str, *, plain: bool = False) -> str:
    """The question as it is or with some words around it."""
    wrapper = rng.choice(patterns()["frame"])
    if plain and "mark" not in wrapper and "lower" not in wrapper.strip("{}"):
        wrapper = "{}"
    if plain and wrapper not in {"{}", "{lower}", "{nomark}", "{lowernomark}"}:
        wrapper = "{}"
    first = question.split(" ")[0]
    # Only an ordinary first word loses its capital: Docker, REST and create_stream keep theirs.
    ordinary = first[:1].isupper() and first[1:].isalpha() and first[1:].islower()
    common = ordinary and first not in {"I", "Docker", "Python", "Git", "Go", "Linux"}
    lower = question[:1].lower() + question[1:] if common else question
    bare = question.rstrip("?.!")
    low = lower.rstrip("?.!")
    return (
        wrapper.replace("{lowernomark}", low)
        .replace("{nomark}", bare)
        .replace("{lower}", lower)
        .replace("{}", question)
    )
