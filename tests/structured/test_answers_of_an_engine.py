"""Typed answers of a real engine whose model knows nothing: the schema does all the work."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from msgspec import Meta

import tabbyapi
from tabbyapi import user
from tabbyapi.structured.schema import type_name

from .kinds import Unit

if TYPE_CHECKING:
    from tabbyapi.local_server import LocalServer

Text = Annotated[str, Meta(max_length=20)]
Number = Annotated[int, Meta(ge=-1000, le=1000)]


class Item(msgspec.Struct):
    name: Text
    amount: Annotated[int, Meta(ge=1, le=99)]
    unit: Unit = Unit.GRAM


@dataclass
class Order:
    items: Annotated[list[Item], Meta(min_length=1, max_length=3)]
    note: Text | None = None


class Move(msgspec.Struct, tag=True):
    x: Number
    y: Number


class Say(msgspec.Struct, tag=True):
    words: Text


class Options(TypedDict):
    mode: Literal["eco", "fast"]
    level: Annotated[int, Meta(ge=1, le=5)]


@attrs.define
class Person:
    age: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.lt(150)])


class Town(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=10)
    founded: datetime.date
    mayor: Annotated[str, pydantic.Field(max_length=10)] | None = None


class Ticket(msgspec.Struct):
    id: uuid.UUID
    issued: datetime.datetime
    lasts: datetime.timedelta
    price: Annotated[str, Meta(pattern="^[0-9]{1,3}[.][0-9]{2}$")]
    seats: tuple[Number, Text]


TYPES: list[tuple[Any, type | tuple[type, ...]]] = [
    (Order, Order),
    (Move | Say, (Move, Say)),
    (Options, dict),
    (Person, Person),
    (Town, Town),
    (dict[Literal["a", "b"], Town], dict),
    (Ticket, Ticket),
    (Unit, Unit),
    (bool | None, (bool, type(None))),
]


NAMES = [type_name(tp) for tp, _ in TYPES]


def ask(server: LocalServer, tp: Any, times: int) -> list[tabbyapi.Parsed[Any]]:
    async def all_at_once() -> list[tabbyapi.Parsed[Any]]:
        async with server.async_client() as client:
            asked = (
                client.chat.parse([user(f"Number {i}.")], tp, max_tokens=4000) for i in range(times)
            )
            return await asyncio.gather(*asked)

    return asyncio.run(all_at_once())


@pytest.mark.parametrize(("tp", "kind"), TYPES, ids=NAMES)
def test_every_answer_is_of_the_type_asked_for(
    local_server: LocalServer, tp: Any, kind: Any
) -> None:
    for answer in ask(local_server, tp, 6):
        assert isinstance(answer.value, kind)
        assert answer.response.finish_reason == "stop"


@pytest.mark.soak
@pytest.mark.parametrize(("tp", "kind"), TYPES, ids=NAMES)
def test_hundreds_of_answers_are_of_the_type_asked_for(
    local_server: LocalServer, tp: Any, kind: Any
) -> None:
    for _ in range(12):
        assert all(isinstance(answer.value, kind) for answer in ask(local_server, tp, 10))


def test_a_stream_grows_to_the_same_value(local_server: LocalServer) -> None:
    with (
        local_server.client() as client,
        client.chat.parse_stream([user("Order.")], Order, max_tokens=4000) as stream,
    ):
        snapshots = list(stream)
        assert (
            msgspec.to_builtins(stream.value)["items"][0]["name"]
            == (snapshots[-1]["items"][0]["name"])
        )
    names = [item["name"] for s in snapshots for item in s.get("items", [])[:1] if "name" in item]
    assert all(later.startswith(earlier) for earlier, later in pairwise(names))


def test_an_answer_cut_off_by_the_limit_is_an_error_with_the_text(
    local_server: LocalServer,
) -> None:
    with (
        local_server.client() as client,
        pytest.raises(tabbyapi.OutputError, match="cut off after 12 tokens") as caught,
    ):
        client.chat.parse([user("Order.")], Order, max_tokens=12)
    assert caught.value.text.startswith('{"items": [{')


QUOTING = [
    '{"name": "f", "arguments": {"x": 1}}',
    '"' * 60,
    "C:\\temp\\" * 8,
    'line\n"two"\t' * 5,
    "x" * 80 + '"' + "y.*[z]$" * 12,
    'naïve "Ω" 你好 ' * 5,
]


@pytest.mark.parametrize("value", QUOTING)
def test_long_strings_full_of_quotes_are_kept_whole(local_server: LocalServer, value: str) -> None:
    schemas: list[dict[str, Any]] = [
        {"const": value},
        {"enum": [value, value[::-1]]},
        {
            "type": "object",
            "properties": {"const": {"const": value}},
            "required": ["const"],
            "additionalProperties": False,
        },
    ]
    allowed: list[Any] = [[value], [value, value[::-1]], [{"const": value}]]
    with local_server.client() as client:
        for schema, answers in zip(schemas, allowed, strict=True):
            answer = client.chat.create([user("Go.")], max_tokens=2000, json_schema=schema)
            assert msgspec.json.decode(answer.text) in answers
