"""Turns without memory: known questions, small talk, and questions without an answer."""

from __future__ import annotations

import random
from functools import cache

from .lexicon import city, favourites, invented, lines, number, person, words
from .qa import Entry, ask, entries, frame, patterns
from .talk import UNKNOWN, Talk


@cache
def _groups() -> tuple[list[Entry], list[Entry], dict[str, list[Entry]]]:
    roots = [e for e in entries().values() if not e.parent and not e.smalltalk]
    chat = [e for e in entries().values() if e.smalltalk]
    children: dict[str, list[Entry]] = {}
    for entry in entries().values():
        if entry.parent:
            children.setdefault(entry.parent, []).append(entry)
    return roots, chat, children


def known(talk: Talk) -> None:
    """A question about the library, TabbyAPI, sampling or programming, perhaps with follow-ups."""
    rng = talk.rng
    roots, _, children = _groups()
    # Those with follow-ups are the conversations that our examples hold: ask them more often.
    entry = rng.choice(roots) if rng.random() < 0.93 else entries()[rng.choice(list(children))]
    talk.exchange(ask(rng, entry), entry.answer, entry.short)
    for child in rng.sample(children.get(entry.name, []), k=len(children.get(entry.name, []))):
        if rng.random() < 0.5:
            talk.exchange(ask(rng, child), child.answer, child.short)


def chatter(talk: Talk) -> None:
    """Greetings, thanks and the like."""
    _, chat, _ = _groups()
    entry = talk.rng.choice(chat)
    talk.exchange(ask(talk.rng, entry), entry.answer, entry.short)


def fill(rng: random.Random, template: str) -> str:
    """The template with names, cities, numbers and so on in its slots."""
    slots = {
        "city": city(rng),
        "city2": city(rng),
        "name": person(rng),
        "topic": words("topics").pick(rng),
        "food": favourites()["food"].pick(rng),
        "language": rng.choice(("French", "German", "Spanish", "Italian", "Polish", "Turkish")),
        "country": words("countries").pick(rng),
        "n": str(number(rng, 2, 999)),
        "m": str(number(rng, 2, 999)),
        "year": str(number(rng, 1500, 2020)),
    }
    return template.format(**slots)


def unknown_question(rng: random.Random, *, held: bool = False) -> str:
    """A question that the model has no answer for."""
    if held:
        return fill(rng, rng.choice(lines("words/unknown_held.txt")))
    if rng.random() < 0.4:
        # The patterns of known questions with strange subjects: the subject must decide.
        subject = rng.choice(
            (
                words("topics").pick(rng),
                favourites()[rng.choice(("food", "animal", "fruit"))].pick(rng),
                words("items").pick(rng),
                invented(rng),
                f"the {words('products').pick(rng)}",
                f"{invented(rng).lower()}_{invented(rng).lower()}",
            )
        )
        pattern = rng.choice(patterns()["w"])
        text = pattern.format(subject)
        return frame(rng, text[:1].upper() + text[1:])
    return frame(rng, fill(rng, rng.choice(lines("words/unknown.txt"))))


def unknown(talk: Talk) -> None:
    """A question without an answer: the model says what it is."""
    talk.exchange(unknown_question(talk.rng, held=talk.held), UNKNOWN, "Unsure")
