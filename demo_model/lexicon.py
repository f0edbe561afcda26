"""Words that fill the conversations, and which of them are held back for the evaluation."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Words:
    """One list of words: `train` appears in training, `held` only in the evaluation."""

    train: tuple[str, ...]
    held: tuple[str, ...] = ()

    def pick(self, rng: random.Random, *, held: bool = False) -> str:
        """One word of the wanted side (of the trained one where nothing is held back)."""
        return rng.choice(self.held if held and self.held else self.train)


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a data file without comments and empty lines."""
    text = (DATA / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _words(name: str, separator: str | None = "|") -> tuple[str, ...]:
    return tuple(w.strip() for line in lines(f"words/{name}.txt") for w in line.split(separator))


@cache
def words(name: str) -> Words:
    """The list `words/<name>.txt`, with what `words/<name>_held.txt` holds back if there is one."""
    separator = None if name in {"first_names", "surnames"} else "|"
    has_held = (DATA / "words" / f"{name}_held.txt").exists()
    return Words(_words(name, separator), _words(f"{name}_held", separator) if has_held else ())


@cache
def favourites() -> dict[str, Words]:
    """Kinds of favourite things (colour, food, ...) and their values."""
    raw = {}
    for line in lines("words/favourites.txt"):
        kind, _, values = line.partition(":")
        raw[kind] = tuple(v.strip() for v in values.split("|"))
    kinds = {}
    for kind, values in raw.items():
        if not kind.endswith(".held"):
            is_link = values[0].startswith("@")
            linked = words("cities") if is_link else Words(values, raw.get(f"{kind}.held", ()))
            kinds[kind] = linked
    return kinds


def is_held(text: str, percent: int) -> bool:
    """Whether a text belongs to the held-back share. Depends on nothing but the text."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < percent


def invented(rng: random.Random, syllables: int | None = None) -> str:
    """A made-up name: endless fresh names force the model to copy instead of remembering them."""
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    onsets, vowels, codas = (line.split() for line in lines("words/syllables.txt"))
    text = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(count))
    if rng.random() < 0.6:
        text += rng.choice(codas)
    return text.capitalize()


@cache
def _letters() -> str:
    """All the text of the answers, a store of ordinary letter combinations."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((DATA / "qa").glob("*.txt")))
    return " ".join(re.findall(r"[a-z]+", " ".join(texts).lower()))


@cache
def _held_back() -> frozenset[str]:
    lists = ("first_names", "cities", "jobs", "topics", "items", "products")
    held = [word for name in lists for word in words(name).held]
    held += [word for kind in favourites().values() for word in kind.held]
    return frozenset(word.lower() for word in held)


def coined(rng: random.Random) -> str:
    """A made-up word in small letters, of syllables or of pieces of ordinary words.

    The pieces bring in tokens that syllables never spell, so that each token is copied now and
    then. What is held back is never coined.
    """
    while True:
        if rng.random() < 0.4:
            word = invented(rng).lower()
        else:
            store, word = _letters(), ""
            for _ in range(rng.choice((1, 2, 2, 3))):
                at = rng.randrange(len(store) - 8)
                word += store[at : at + rng.randint(2, 5)].replace(" ", "")
        if len(word) > 2 and word not in _held_back():
            return word


def thing(name: str, rng: random.Random, *, held: bool = False) -> str:
    """A word of the list `words/<name>.txt`; in training often a coined one, at times two."""
    if held or rng.random() < 0.45:
        return words(name).pick(rng, held=held)
    return _perhaps_two(coined(rng), rng)


def _perhaps_two(first: str, rng: random.Random) -> str:
    return f"{first} {coined(rng)}" if rng.random() < 0.12 else first


def person(rng: random.Random, *, held: bool = False) -> str:
    """A first name; in training often an invented one."""
    if not held and rng.random() < 0.55:
        return coined(rng).capitalize()
    return words("first_names").pick(rng, held=held)


def city(rng: random.Random, *, held: bool = False) -> str:
    """A city; in training often an invented one."""
    if not held and rng.random() < 0.45:
        return _perhaps_two(coined(rng), rng).title()
    return words("cities").pick(rng, held=held)


def number(rng: random.Random, low: int, high: int, *, held: bool = False) -> int:
    """A whole number in [low, high]: a seventh of all numbers is kept for the evaluation."""
    if high - low < 20:
        return rng.randint(low, high)
    while True:
        value = rng.randint(low, high)
        if is_held(f"number {value}", 14) == held:
            return value
