"""Fields of a sentence as JSON."""

from __future__ import annotations

import json
import random
from typing import Any

from .lexicon import city, invented, number, person, thing, words
from .talk import Talk, choose, sections

_FIELDS = {
    "person": ("name", "age", "city"),
    "worker": ("name", "job", "city"),
    "short": ("name", "age"),
    "home": ("name", "city"),
    "order": ("name", "quantity", "item"),
    "meeting": ("name", "city", "time"),
    "price": ("product", "price"),
}


def _values(rng: random.Random, *, held: bool) -> dict[str, Any]:
    surname = ""
    if rng.random() < 0.3:
        made = not held and rng.random() < 0.4
        surname = " " + (invented(rng) if made else words("surnames").pick(rng))
    return {
        "name": person(rng, held=held) + surname,
        "age": number(rng, 10, 99, held=held),
        "city": city(rng, held=held),
        "job": thing("jobs", rng, held=held),
        "quantity": number(rng, 2, 99, held=held),
        "item": thing("items", rng, held=held),
        "time": f"{rng.randint(6, 22):02d}:{rng.choice((0, 15, 30, 45)):02d}",
        "product": thing("products", rng, held=held),
        "price": number(rng, 2, 999, held=held),
    }


def _listed(rng: random.Random, keys: list[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    glue = rng.choice((" and ", ", "))
    return ", ".join(keys[:-1]) + glue + keys[-1]


def _json(values: dict[str, Any], *, compact: bool) -> str:
    separators = (",", ":") if compact else (", ", ": ")
    return json.dumps(values, ensure_ascii=False, separators=separators)


def extract(talk: Talk) -> None:
    """One to three sentences turned into JSON."""
    rng = talk.rng
    kinds = sections("extraction.txt")
    kind = rng.choice(list(_FIELDS))
    by_system = rng.random() < 0.3
    keys = list(_FIELDS[kind])
    if rng.random() < 0.5:
        keys = rng.sample(keys, k=rng.randint(1 if by_system else 2, len(keys)))
    compact = rng.random() < 0.12
    note = " Compact, without spaces." if compact else ""
    for _ in range(rng.choice((1, 1, 2, 3) if by_system else (1, 1, 2))):
        values = _values(rng, held=talk.held)
        sentence = rng.choice(kinds[kind]).format(**values)
        wanted = keys
        if by_system:
            request = sentence
        elif rng.random() < 0.4:
            wanted = list(_FIELDS[kind])
            request = choose(rng, kinds["all"], held=talk.reword).format(text=sentence) + note
        else:
            template = choose(rng, kinds["keys"], held=talk.reword)
            request = template.format(keys=_listed(rng, keys), text=sentence) + note
        talk.exchange(request, _json({k: values[k] for k in wanted}, compact=compact))
    if by_system:
        text = choose(rng, kinds["system"], held=talk.reword).format(keys=_listed(rng, keys))
        talk.system(text + note)
