"""Facts that the user tells and asks for later."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from .lexicon import city, favourites, invented, lines, number, person, thing
from .smalltalk import chatter, known, unknown
from .talk import Talk, choose


@cache
def _facts() -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    title = ""
    for line in lines("facts.txt"):
        if line.startswith("["):
            title = line[1:-1]
            found[title] = {}
        else:
            key, _, options = line.partition(": ")
            found[title][key] = tuple(o.strip() for o in options.split(" | "))
    return found


def fact_names() -> list[str]:
    """The kinds of fact: name, city, ... and `favourite <kind>` for each kind of favourite."""
    plain = [name for name in _facts() if name != "favourite"]
    return plain + [f"favourite {kind}" for kind in favourites()]


def _favourite(kind: str, rng: random.Random, *, held: bool) -> str:
    if kind == "city":
        return city(rng, held=held)
    if not held and rng.random() < 0.25:
        made = invented(rng)
        return made if kind == "language" or rng.random() < 0.3 else made.lower()
    return favourites()[kind].pick(rng, held=held)


def value(name: str, rng: random.Random, *, held: bool) -> str:
    """A value for the fact."""
    makers: dict[str, Callable[[], str]] = {
        "name": lambda: person(rng, held=held),
        "city": lambda: city(rng, held=held),
        "job": lambda: thing("jobs", rng, held=held),
        "age": lambda: str(number(rng, 10, 99, held=held)),
        "pet": lambda: person(rng, held=held),
        "number": lambda: str(number(rng, 10, 9999, held=held)),
    }
    if name.startswith("favourite "):
        return _favourite(name.partition(" ")[2], rng, held=held)
    return makers[name]()


def _parts(name: str) -> tuple[dict[str, tuple[str, ...]], str]:
    kind = name.partition(" ")[2]
    return _facts()["favourite" if kind else name], kind


def tell(talk: Talk, name: str, text: str, *, again: bool = False) -> None:
    """The user states the fact and the assistant confirms it."""
    parts, kind = _parts(name)
    options = parts.get("retell", parts["tell"]) if again else parts["tell"]
    statement = talk.rng.choice(options).format(text, kind=kind)
    talk.exchange(
        statement[:1].upper() + statement[1:], parts["reply"][0].format(text, kind=kind), "Noted"
    )


def tell_two(talk: Talk, first: str, one: str, second: str, two: str) -> None:
    """Two facts in one message."""
    statements, replies = [], []
    for name, text in ((first, one), (second, two)):
        parts, kind = _parts(name)
        options = [t for t in parts["tell"] if "H" not in t[:1]]
        statements.append(talk.rng.choice(options).format(text, kind=kind))
        replies.append(parts["reply"][0].format(text, kind=kind))
    joined = " ".join(s[:1].upper() + s[1:] for s in statements)
    if talk.rng.random() < 0.5 and statements[1].startswith(("I ", "My ", "I'm ")):
        tail = statements[1]
        tail = tail if tail.startswith("I") else tail[:1].lower() + tail[1:]
        joined = statements[0].rstrip(".") + " and " + tail
    talk.exchange(joined[:1].upper() + joined[1:], " ".join(replies), "Noted")


def ask(talk: Talk, name: str, text: str | None) -> None:
    """The user asks for the fact; `text` is None if it was never told."""
    parts, kind = _parts(name)
    question = choose(talk.rng, parts["ask"], held=talk.reword).format(kind=kind)
    if text is None:
        talk.exchange(question, parts["none"][0].format(kind=kind), "Unsure")
    else:
        full = parts["answer"][0].format(text, kind=kind)
        talk.exchange(question, full, text if " " not in text else None)


def _distract(talk: Talk, *, short: bool) -> None:
    roll = talk.rng.random()
    if roll < (0.2 if short else 0.5):
        known(talk)
    elif roll < 0.8:
        chatter(talk)
    else:
        unknown(talk)


def dialogue(talk: Talk, *, distance: int) -> None:
    """Facts are told, `distance` other exchanges follow, then the facts are asked for."""
    rng = talk.rng
    names = rng.sample(fact_names(), k=rng.choice((1, 1, 2, 2, 3, 4)))
    if rng.random() < 0.5 and "name" not in names:
        names[0] = "name"
    told: dict[str, str] = {name: value(name, rng, held=talk.held) for name in names}
    pending = list(told)
    if len(pending) > 1 and rng.random() < 0.4:
        first, second = pending[:2]
        tell_two(talk, first, told[first], second, told[second])
        pending = pending[2:]
    for name in pending:
        tell(talk, name, told[name])
        if rng.random() < 0.2:
            _distract(talk, short=True)
    changeable = [n for n in told if "retell" in _parts(n)[0]]
    if changeable and rng.random() < 0.15:
        name = rng.choice(changeable)
        told[name] = value(name, rng, held=talk.held)
        tell(talk, name, told[name], again=True)
    goal = len(talk.messages) + 2 * distance
    while len(talk.messages) < goal:
        _distract(talk, short=distance > 3)
    asked: list[str] = rng.sample(names, k=len(names))
    if rng.random() < 0.2:
        asked.append(rng.choice([n for n in fact_names() if n not in told]))
        rng.shuffle(asked)
    for name in asked:
        ask(talk, name, told.get(name))
