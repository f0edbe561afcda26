"""The JSON schema of Python types."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import typing
from typing import Annotated, Any, Literal

import annotated_types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from tabbyapi import errors
from tabbyapi.structured import read, schema_of

from .kinds import (
    Address,
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
    Point,
    Recipe,
    Renamed,
    Trip,
    Unit,
)

EVERY_TYPE = [
    Recipe, Ingredient, Address, Person, City, Country, Atlas, Trip, Cat | Dog, Node, Page[City],
    Page[Node], Point, Renamed, Everything, Unit, list[Recipe], list[City], City | None, int,
    int | str, dict[str, City], Literal["yes", "no"], list[Cat | Dog], bool, None, Any,
]  # fmt: skip


@pytest.mark.parametrize("tp", EVERY_TYPE, ids=str)
def test_every_schema_is_one_that_a_grammar_engine_compiles(tp: Any) -> None:
    # Servers drop a schema they cannot compile, silently.
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema_of(tp)))
    assert LLMatcher.validate_grammar(grammar) == ""


@pytest.mark.parametrize("tp", EVERY_TYPE, ids=str)
def test_every_reference_leads_to_a_definition(tp: Any) -> None:
    schema = schema_of(tp)
    references = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                references.add(node["$ref"])
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(schema)
    assert references == {f"#/$defs/{name}" for name in schema.get("$defs", {})}


def test_fields_carry_descriptions_constraints_and_defaults() -> None:
    schema = schema_of(Ingredient)
    assert schema["description"] == "Something to buy."
    assert schema["properties"]["name"] == {
        "type": "string", "minLength": 1, "description": "as on the label",
    }  # fmt: skip
    assert schema["properties"]["amount"] == {"type": "number", "exclusiveMinimum": 0}
    assert schema["properties"]["unit"] == {"$ref": "#/$defs/Unit", "default": "g"}
    assert schema["$defs"]["Unit"]["enum"] == ["g", "pc"]
    assert schema["required"] == ["name", "amount"]
    assert schema["additionalProperties"] is False


def test_a_dataclass_is_described_by_its_docstring_metadata_and_strings_below_fields() -> None:
    schema = schema_of(Recipe)
    assert schema["description"] == "A dish and how to cook it."
    described = {name: field.get("description") for name, field in schema["properties"].items()}
    assert described == {
        "title": "what to call it",
        "ingredients": "what goes in",
        "minutes": "from start to table",
        "notes": "Anything else.",
    }


def test_a_dataclass_without_docstring_has_no_made_up_description() -> None:
    assert "description" not in schema_of(Trip)


def test_strings_in_annotated_describe_fields_of_typed_dicts() -> None:
    schema = schema_of(Address)
    assert schema["properties"]["zip_code"]["description"] == "five digits"
    assert schema["required"] == ["street"]
    assert "description" not in schema


def test_validators_of_attrs_classes_become_constraints() -> None:
    properties = schema_of(Person)["properties"]
    assert properties["age"] == {"type": "integer", "minimum": 0, "exclusiveMaximum": 150}
    assert properties["mood"]["enum"] == ["calm", "wild"]


def test_pydantic_models_are_described_by_themselves_and_closed() -> None:
    schema = schema_of(City)
    assert schema["properties"]["name"]["description"] == "in English"
    assert schema["properties"]["name"]["maxLength"] == 50
    assert schema["properties"]["people"]["minimum"] == 0
    assert schema["additionalProperties"] is False


def test_a_pydantic_model_inside_another_kind_of_class_shares_its_definitions() -> None:
    schema = schema_of(Trip)
    assert schema["$defs"]["City"]["required"] == ["name"]
    assert "$defs" not in schema["properties"]["back"]["anyOf"][0]


def test_two_classes_of_one_name_get_two_definitions() -> None:
    other = msgspec.defstruct("City", [("mayor", str)])
    schema = schema_of(tuple[Page[City], other])  # type: ignore[valid-type]
    names = {name for name in schema["$defs"] if name.startswith("City")}
    assert names == {"City", "City_2"}
    second = schema["prefixItems"][1]["$ref"].removeprefix("#/$defs/")
    assert "mayor" in schema["$defs"][second]["properties"]


def test_a_choice_between_tagged_structs_is_told_by_the_tag() -> None:
    schema = schema_of(Cat | Dog)
    assert schema["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert schema["$defs"]["Dog"]["properties"]["type"] == {"enum": ["Dog"]}
    assert schema["$defs"]["Dog"]["required"] == ["type", "name"]


def test_a_class_that_contains_itself_refers_to_its_definition() -> None:
    schema = schema_of(Node)
    assert schema["$ref"] == "#/$defs/Node"
    items = schema["$defs"]["Node"]["properties"]["children"]["items"]
    assert items == {"$ref": "#/$defs/Node"}


@pytest.mark.parametrize("key", [Literal["g", "pc"], Unit], ids=["literal", "enum"])
@pytest.mark.parametrize("value", [int, City], ids=["plain", "pydantic"])
def test_a_mapping_with_known_keys_lists_them(key: Any, value: Any) -> None:
    schema = schema_of(dict[key, value])
    assert sorted(schema["properties"]) == ["g", "pc"]
    assert schema["additionalProperties"] is False


def test_renamed_fields_go_by_the_name_in_the_json() -> None:
    field = {"type": "string", "description": "the given one"}
    assert schema_of(Renamed)["properties"] == {"firstName": field}


def test_constraints_of_annotated_types_reach_the_schema() -> None:
    @dataclasses.dataclass
    class Dice:
        eyes: Annotated[int, annotated_types.Interval(ge=1, le=6)]
        throws: Annotated[list[int], annotated_types.Len(1, 3)]

    properties = schema_of(Dice)["properties"]
    assert properties["eyes"] == {"type": "integer", "minimum": 1, "maximum": 6}
    assert (properties["throws"]["minItems"], properties["throws"]["maxItems"]) == (1, 3)


def test_changing_a_schema_does_not_change_the_next_one() -> None:
    schema_of(Ingredient)["properties"].clear()
    assert schema_of(Ingredient)["properties"]


def test_metadata_that_cannot_be_hashed_is_no_obstacle() -> None:
    assert schema_of(Annotated[int, {"unit": "m"}]) == {"type": "integer"}


MISSING = typing.ForwardRef("Missing")


@pytest.mark.parametrize(
    "tp", [object, Recipe | Ingredient, complex, 5, "Recipe", list[MISSING]], ids=str
)
def test_a_type_that_json_cannot_hold_is_refused_with_what_to_use_instead(tp: Any) -> None:
    with pytest.raises(errors.ValidationError, match="msgspec Struct") as caught:
        schema_of(tp)
    assert caught.value.field == "json_schema"


DAYS = st.dates() | st.sampled_from([datetime.date(2000, 2, 29), datetime.date(1, 1, 1)])


@given(DAYS, st.times(), st.timedeltas(datetime.timedelta(0), datetime.timedelta(99999)))
def test_every_date_time_and_duration_can_be_written(
    day: datetime.date, time: datetime.time, span: datetime.timedelta
) -> None:
    schema = schema_of(Everything)["properties"]
    whole_seconds = datetime.timedelta(days=span.days, seconds=span.seconds)
    moment = datetime.datetime.combine(day, time, datetime.UTC)
    values = {"day": day, "at": time, "when": moment, "lasts": whole_seconds}
    for name, value in values.items():
        assert re.search(schema[name]["pattern"], msgspec.to_builtins(value)), name


@given(st.from_regex(schema_of(datetime.datetime)["pattern"], fullmatch=True))
def test_every_date_time_that_the_schema_allows_can_be_read(text: str) -> None:
    read(f'"{text.strip()}"', datetime.datetime)
    read(f'"{text[:10]}"', datetime.date)


@pytest.mark.parametrize(
    ("tp", "text"),
    [
        (datetime.date, "2023-02-29"),
        (datetime.date, "1900-02-29"),
        (datetime.date, "2023-04-31"),
        (datetime.time, "12:00:60"),
        (datetime.datetime, "2023-01-01 00:00:00"),
    ],
)
def test_a_date_that_does_not_exist_is_not_allowed(tp: Any, text: str) -> None:
    assert re.search(schema_of(tp)["pattern"], text) is None
