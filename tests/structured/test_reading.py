"""Reading answers, whole and growing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi import errors
from tabbyapi.structured import PartialReader, read

from .kinds import (
    Atlas,
    Cat,
    City,
    Country,
    Dog,
    Everything,
    Ingredient,
    Node,
    Page,
    Person,
    Recipe,
    Trip,
    Unit,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=12)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def test_an_answer_is_read_as_the_type_asked_for() -> None:
    text = '{"title": "Tea", "ingredients": [{"name": "leaf", "amount": 2, "unit": "g"}]}'
    assert read(text, Recipe) == Recipe("Tea", [Ingredient("leaf", 2.0, Unit.GRAM)])


def test_pydantic_models_are_read_by_pydantic_alone_in_containers_and_in_other_classes() -> None:
    assert read('{"name": "Oslo"}', City) == City(name="Oslo")
    assert read('[{"name": "Oslo"}]', list[City]) == [City(name="Oslo")]
    assert read("null", City | None) is None
    assert read('{"to": {"name": "Oslo"}}', Trip) == Trip(City(name="Oslo"))
    assert read('{"items": [{"name": "Oslo"}]}', Page[City]) == Page([City(name="Oslo")])


def test_tagged_choices_are_read_by_their_tag() -> None:
    assert read('{"type": "Dog", "name": "Rex"}', Cat | Dog) == Dog("Rex")


@pytest.mark.parametrize(
    "text",
    ['\n\n {"value": 1}', '```json\n{"value": 1}\n```', '```\n{"value": 1}\n```\n\nDone.'],
    ids=["leading lines", "fence", "fence and remark"],
)
def test_white_space_and_a_code_fence_around_the_json_are_ignored(text: str) -> None:
    assert read(text, Node) == Node(1)


@pytest.mark.parametrize(
    ("text", "tp", "position"),
    [
        ('{"title": "Tea", "ingredients": [{"name": "x", "amount": "much"}]}', Recipe,
         "$.ingredients[0].amount"),
        ('{"name": 5}', City, "$.name"),
        ('{"capital": {"name": "x"}, "cities": [{"name": "y"}, {}]}', Country, "$.cities[1].name"),
        ('{"to": {"name": 5}}', Trip, "$.to"),
        ('{"age": 200}', Person, "$"),
        ('"five"', int, "$"),
        ('{"value": 1, "chi', Node, "character 17"),
        ('{"vä": 1 "x": 2}', Node, "character 9"),
        ("Sure! Here it is.", Node, "character 0"),
        ("", Node, None),
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_raises_with_the_text_and_the_place(
    text: str, tp: Any, position: str | None
) -> None:
    with pytest.raises(errors.OutputError) as caught:
        read(text, tp)
    assert caught.value.text == text
    assert caught.value.position == position
    assert tp.__name__ in str(caught.value)


def test_a_long_answer_is_cut_in_the_message_but_whole_in_the_error() -> None:
    text = "x" * 5000
    with pytest.raises(errors.OutputError) as caught:
        read(text, Node)
    assert len(str(caught.value)) < 500
    assert caught.value.text == text


def snapshots(pieces: list[str]) -> list[Any]:
    reader = PartialReader()
    found = [reader.feed(piece) for piece in pieces]
    return [value for value in [*found, reader.finish()] if value is not None]


def test_a_value_grows_with_its_text() -> None:
    pieces = ['{"na', 'me": "Os', 'lo", "tags": ["a', '", "b"], "n": 1', "2}"]
    assert snapshots(pieces) == [
        {},
        {"name": "Os"},
        {"name": "Oslo", "tags": ["a"]},
        {"name": "Oslo", "tags": ["a", "b"], "n": 1},
        {"name": "Oslo", "tags": ["a", "b"], "n": 12},
    ]


def test_a_fence_that_arrives_in_pieces_is_ignored() -> None:
    assert snapshots(["`", "``js", "on\n", "[1", ",2]", "\n``", "`"]) == [[1], [1, 2]]


@given(JSON, st.booleans(), st.integers(1, 7))
def test_the_last_snapshot_is_the_whole_value_however_the_text_is_cut(
    value: Any, ascii_only: bool, size: int
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    found = snapshots([text[at : at + size] for at in range(0, len(text), size)])
    assert (found[-1] if found else None) == value


@given(JSON)
def test_no_beginning_of_an_answer_is_taken_for_a_broken_one(value: Any) -> None:
    text = json.dumps(value)
    for end in range(len(text)):
        snapshots([text[:end]])


@pytest.mark.parametrize("text", ["Sure", '{"a" 1', '"\\x', '{"a": tomorrow'])
def test_text_that_can_no_longer_become_json_raises_at_once(text: str) -> None:
    with pytest.raises(errors.OutputError) as caught:
        snapshots(list(text))
    assert caught.value.text in text
    assert caught.value.position is not None


def test_a_long_text_in_small_pieces_is_not_parsed_at_every_piece() -> None:
    text = json.dumps(["word"] * 20_000)
    found = snapshots([text[at : at + 4] for at in range(0, len(text), 4)])
    assert len(found) < len(text) / 40
    assert found[-1] == ["word"] * 20_000


def test_the_kinds_of_text_that_schemas_ask_for_can_all_be_read_back() -> None:
    answer = {
        "when": "2024-02-29T12:00:00Z", "day": "2024-02-29", "at": "12:00:00Z", "lasts": "PT1H30M",
        "id": "6fa459ea-ee8a-3ca4-894e-db77e160355e", "price": "19.90", "data": "aGk=",
        "point": [1, 2.5], "tags": ["a", "a"], "pair": [1, "x"], "many": [1, 2],
        "table": {"k": [1]}, "by_number": {"-3": "x"}, "choice": None, "anything": [{}],
    }  # fmt: skip
    value = read(json.dumps(answer), Everything)
    assert value.lasts.total_seconds() == 5400
    assert (value.data, value.tags, value.by_number) == (b"hi", {"a"}, {-3: "x"})
    assert read('{"water": {"kind": "sea"}, "price": "1.5"}', Atlas).water.kind == "sea"
