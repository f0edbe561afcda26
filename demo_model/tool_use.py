"""Tool calls: the model copies arguments out of the request and uses what the tool returned."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from .lexicon import DATA, city, invented, lines, number, person, thing, words
from .smalltalk import chatter, known, unknown
from .talk import Talk, choose


@cache
def families() -> dict[str, dict[str, Any]]:
    """The kinds of tool in tools.json."""
    loaded: dict[str, dict[str, Any]] = json.loads((DATA / "tools.json").read_text("utf-8"))
    return loaded


def _slots(rng: random.Random, *, held: bool) -> dict[str, Any]:
    a, b = number(rng, 2, 999, held=held), number(rng, 2, 999, held=held)
    text = rng.choice(lines("words/messages.txt")).format(
        item=thing("items", rng, held=held), city=city(rng, held=held)
    )
    return {
        "city": city(rng, held=held),
        "city2": city(rng, held=held),
        "name": person(rng, held=held),
        "product": thing("products", rng, held=held),
        "a": a,
        "b": b,
        "sum": a + b,
        "product_ab": a * b,
        "text": text,
        "minutes": number(rng, 2, 90, held=held),
        "cond": words("conditions").pick(rng),
        "temp": number(rng, -9, 40),
        "time": f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
        "big": number(rng, 1000, 9_999_999, held=held),
        "age": number(rng, 10, 99, held=held),
        "price": number(rng, 2, 999, held=held),
        "phone": f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
    }


def _fill(template: str, slots: dict[str, Any]) -> str:
    # Not str.format: the results hold the braces of JSON.
    for name, value in slots.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def _schema(rng: random.Random, name: str, description: str, params: list[dict[str, Any]]) -> Any:
    described = rng.random() < 0.3
    properties = {
        p["name"]: {"type": p["type"], **({"description": p["description"]} if described else {})}
        for p in params
    }
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    if rng.random() < 0.2:
        parameters["additionalProperties"] = False
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _family_tool(rng: random.Random, family: dict[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """A tool of the family, and its parameters as (name, slot)."""
    params = [
        {"name": rng.choice(p["names"]), "type": p["type"], "description": p["descriptions"][0]}
        for p in family["params"]
    ]
    tool = _schema(rng, rng.choice(family["names"]), rng.choice(family["descriptions"]), params)
    slots = [p["slot"] for p in family["params"]]
    return tool, list(zip((p["name"] for p in params), slots, strict=True))


def _call(talk: Talk, calls: list[tuple[str, dict[str, Any]]]) -> list[str]:
    ids = [f"call_{len(talk.messages)}_{i}" for i in range(len(calls))]
    talk.messages.append(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": name, "arguments": arguments}}
                for i, (name, arguments) in zip(ids, calls, strict=True)
            ],
        }
    )
    return ids


def _result(talk: Talk, call_id: str, content: str) -> None:
    talk.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})


def _use(talk: Talk, family: dict[str, Any], tool: Any, params: list[tuple[str, str]]) -> None:
    rng = talk.rng
    slots = _slots(rng, held=talk.held)
    talk.user(_fill(choose(rng, tuple(family["requests"]), held=talk.reword), slots))
    name = tool["function"]["name"]
    (call_id,) = _call(talk, [(name, {param: slots[slot] for param, slot in params})])
    if not talk.held and rng.random() < 0.07:
        problem = words("tool_errors").pick(rng)
        _result(talk, call_id, rng.choice((f"Error: {problem}", json.dumps({"error": problem}))))
        talk.answer(f"The tool {name} failed: {problem}.")
        return
    result, answer = rng.choice(family["results"])
    _result(talk, call_id, _fill(result, slots))
    talk.answer(_fill(answer, slots))


def _use_twice(talk: Talk, family: dict[str, Any], tool: Any, param: str) -> None:
    """Two cities in one request: two calls in one message."""
    rng = talk.rng
    first, second = city(rng, held=talk.held), city(rng, held=talk.held)
    request = rng.choice([r for r in family["requests"][:-1] if r.count("{city}") == 1])
    talk.user(_fill(request, {"city": f"{first} and {second}"}))
    name = tool["function"]["name"]
    ids = _call(talk, [(name, {param: first}), (name, {param: second})])
    kinds = [_slots(rng, held=talk.held) | {"city": town} for town in (first, second)]
    result, answer = rng.choice(family["results"])
    for call_id, slots in zip(ids, kinds, strict=True):
        _result(talk, call_id, _fill(result, slots))
    talk.answer(" ".join(_fill(answer, slots) for slots in kinds))


def _invented_tool(rng: random.Random) -> tuple[Any, str]:
    verb = rng.choice(("get", "find", "look_up", "run", "check", "read", "open", "do"))
    name = f"{verb}_{invented(rng).lower()}"
    param = rng.choice(("key", "value", "id", "query", "text", "topic", invented(rng).lower()))
    description = rng.choice((f"{verb.capitalize()} it.", f"The {name} tool.", "A tool."))
    kind = {"name": param, "type": "string", "description": "The value."}
    return _schema(rng, name, description, [kind]), param


def _use_invented(talk: Talk, tool: Any, param: str) -> None:
    rng = talk.rng
    name = tool["function"]["name"]
    thing = rng.choice((person, city))(rng, held=talk.held)
    requests = ("Call {n} with {v}.", "Use {n} for {v}.", "Run {n} on {v}.", "{n}: {v}")
    talk.user(rng.choice(requests).format(n=name, v=thing))
    (call_id,) = _call(talk, [(name, {param: thing})])
    result = rng.choice((invented(rng), str(number(rng, 1, 9999)), invented(rng).lower()))
    _result(talk, call_id, result)
    talk.answer(f"The result is {result}.")


def session(talk: Talk) -> None:
    """A conversation with one to three tools, mostly using them."""
    rng = talk.rng
    chosen = rng.sample(list(families()), k=rng.choice((1, 1, 2, 2, 3)))
    tools = [(families()[name], *_family_tool(rng, families()[name])) for name in chosen]
    odd = _invented_tool(rng) if rng.random() < 0.2 else None
    talk.tools = [tool for _, tool, _ in tools] + ([odd[0]] if odd else [])
    rng.shuffle(talk.tools)
    for _ in range(rng.choice((1, 1, 2, 3))):
        roll = rng.random()
        if odd and roll < 0.4:
            _use_invented(talk, *odd)
        elif roll < 0.85 or talk.held:
            family, tool, params = rng.choice(tools)
            single_city = [slot for _, slot in params] == ["city"]
            if single_city and rng.random() < 0.12 and not talk.held:
                _use_twice(talk, family, tool, params[0][0])
            else:
                _use(talk, family, tool, params)
        else:
            rng.choice((known, chatter, _unrelated))(talk)


def _unrelated(talk: Talk) -> None:
    """A question that none of the tools can answer."""
    start = len(talk.messages)
    unknown(talk)
    text = talk.messages[start]["content"].lower()
    # Some of these questions are exactly what a tool is for.
    if any(w in text for w in ("weather", "time", "plus", "times", "*", "live", "old", "price")):
        del talk.messages[start:]
        chatter(talk)
