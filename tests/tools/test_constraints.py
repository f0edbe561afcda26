"""Field objects as defaults, and constraints wherever they stand in a tool's parameters."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Annotated, Any, TypedDict

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi import ValidationError, schema_of
from tabbyapi.errors import OutputError
from tabbyapi.structured import read
from tabbyapi.tools import tool_of
from tabbyapi.tools.values import arguments_of


def by_pydantic(days: int = pydantic.Field(default=3, le=7, description="ahead")) -> int:
    return days


def by_dataclasses(days: int = dataclasses.field(default=3)) -> int:
    return days


def by_msgspec(days: int = msgspec.field(default=3)) -> int:
    return days


def by_attrs(days: int = attrs.field(default=3, validator=attrs.validators.le(7))) -> int:
    return days


@pytest.mark.parametrize("function", [by_pydantic, by_dataclasses, by_msgspec, by_attrs])
def test_a_field_object_as_default_gives_its_default(function: Any) -> None:
    tool = tool_of(function)
    assert tool.schema["properties"]["days"]["default"] == 3
    assert tool.schema["required"] == []
    assert arguments_of(tool, "{}") == {"days": 3}
    assert arguments_of(tool, '{"days": null}') == {"days": 3}
    assert arguments_of(tool, '{"days": 5}') == {"days": 5}


@pytest.mark.parametrize("function", [by_pydantic, by_attrs])
def test_a_field_object_keeps_its_bounds(function: Any) -> None:
    tool = tool_of(function)
    assert tool.schema["properties"]["days"]["maximum"] == 7
    with pytest.raises(OutputError, match=r"<= 7, at \$\.days"):
        arguments_of(tool, '{"days": 8}')


def test_a_field_object_keeps_its_description() -> None:
    assert tool_of(by_pydantic).schema["properties"]["days"]["description"] == "ahead"


@pytest.mark.parametrize(
    "default",
    [
        pydantic.Field(le=7),
        pydantic.Field(..., le=7),
        dataclasses.field(),
        msgspec.field(),
        attrs.field(),
    ],
)
def test_a_field_object_without_default_is_required(default: Any) -> None:
    def f(days: int = default) -> None: ...

    assert tool_of(f).schema["required"] == ["days"]
    with pytest.raises(OutputError, match="missing: days"):
        arguments_of(tool_of(f), "{}")


@pytest.mark.parametrize(
    "default",
    [
        pydantic.Field(default_factory=list),
        dataclasses.field(default_factory=list),
        msgspec.field(default_factory=list),
        attrs.field(factory=list),
        pydantic.Field(default=[]),
    ],
)
def test_a_default_of_a_field_object_is_made_anew_for_each_call(default: Any) -> None:
    def f(names: list[str] = default) -> None: ...

    first, second = (arguments_of(tool_of(f), "{}")["names"] for _ in range(2))
    assert first == second == []
    assert first is not second


def test_a_field_object_that_is_not_known_is_refused() -> None:
    class Field:
        """Of some other library."""

    def f(days: int = Field()) -> None:  # type: ignore[assignment]
        ...

    with pytest.raises(ValidationError, match="give the default itself"):
        tool_of(f)


@pytest.mark.parametrize("default", [pydantic.Field(default=3), msgspec.field(default=3)])
def test_a_field_object_of_another_library_in_a_dataclass_is_refused(default: Any) -> None:
    made = dataclasses.make_dataclass("Plan", [("days", int, default)])
    with pytest.raises(ValidationError, match=r"Plan\.days"):
        schema_of(made)


# ----------------------------------------------------------------------- constraints


@dataclasses.dataclass
class Trip:
    days: Annotated[int, at.Ge(1), at.Le(30)]
    stops: list[Annotated[str, pydantic.Field(min_length=2)]] = dataclasses.field(
        default_factory=list
    )


class Span(msgspec.Struct, rename="camel"):
    in_days: Annotated[int | None, at.Gt(0)] = None


class Prices(TypedDict):
    by_city: Annotated[dict[str, Annotated[float, at.Ge(0)]], at.Len(1, 2)]


@attrs.define
class Level:
    value: Annotated[int, at.MultipleOf(5)]


BREACHES: list[tuple[Any, Any, Any, str]] = [
    (Annotated[int | None, pydantic.Field(ge=1)], 1, 0, "$"),
    (Annotated[int | None, pydantic.Field(ge=1)], None, -3, "$"),
    (Annotated[int | str, at.Ge(1)], "zero", 0, "$"),
    (list[Annotated[int, pydantic.Field(ge=1)]], [1, 2], [1, 0], "$[1]"),
    (tuple[Annotated[int, at.Ge(1)], str], [1, "a"], [0, "a"], "$[0]"),
    (dict[str, Annotated[int, at.Ge(1)]], {"a": 1}, {"a": 0}, "$.a"),
    (Annotated[dict[str, int], at.Len(1, 1)], {"a": 1}, {}, "$"),
    (Annotated[dict[str, int], at.MaxLen(1)], {"a": 1}, {"a": 1, "b": 2}, "$"),
    (Annotated[list[int], at.MinLen(1)], [1], [], "$"),
    (Annotated[str, pydantic.StringConstraints(pattern="^a+$")], "aa", "ab", "$"),
    (Annotated[float, at.Interval(ge=0, lt=1)], 0.5, 1.0, "$"),
    (Annotated[int, at.Ge(0), at.Gt(0)], 1, 0, "$"),
    (Annotated[Any, at.MaxLen(2)], "ab", "abc", "$"),
    (Trip, {"days": 30}, {"days": 31}, "$.days"),
    (Trip, {"days": 1, "stops": ["ab"]}, {"days": 1, "stops": ["ab", "a"]}, "$.stops[1]"),
    (list[Trip], [{"days": 1}], [{"days": 0}], "$[0].days"),
    (Trip | None, None, {"days": 0}, "$.days"),
    (Span, {"inDays": None}, {"inDays": 0}, "$.inDays"),
    (Prices, {"by_city": {"a": 0}}, {"by_city": {"a": -1}}, "$.by_city.a"),
    (Prices, {"by_city": {"a": 0}}, {"by_city": {}}, "$.by_city"),
    (Level, {"value": 10}, {"value": 11}, "$.value"),
]


@pytest.mark.parametrize(("tp", "good", "bad", "position"), BREACHES)
def test_a_constraint_is_checked_where_it_stands(
    tp: Any, good: Any, bad: Any, position: str
) -> None:
    def f(it: tp) -> None: ...

    f.__annotations__["it"] = tp
    tool = tool_of(f)
    assert "it" in arguments_of(tool, json.dumps({"it": good}))
    with pytest.raises(OutputError, match="Expected") as error:
        arguments_of(tool, json.dumps({"it": bad}))
    assert error.value.position == f"$.it{position[1:]}"

    read(json.dumps(good), tp)
    with pytest.raises(OutputError, match="Expected") as error:
        read(json.dumps(bad), tp)
    assert error.value.position == position


def test_a_constraint_is_in_the_schema_in_the_words_of_its_type() -> None:
    assert schema_of(Annotated[dict[str, int], at.Len(1, 2)]) == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
        "maxProperties": 2,
    }
    assert schema_of(Annotated[int | None, pydantic.Field(ge=1, description="n")]) == {
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
        "description": "n",
    }
    assert schema_of(list[Annotated[int, pydantic.Field(ge=1)]])["items"] == {
        "type": "integer",
        "minimum": 1,
    }


@pytest.mark.parametrize(
    "tp",
    [
        Annotated[str, at.Ge(1)],
        Annotated[str, pydantic.StringConstraints(pattern="(")],
        Annotated[datetime.date, at.Ge(datetime.date(2020, 1, 1))],
        Annotated[int, at.Predicate(lambda n: n > 3)],
        Annotated[int, pydantic.AfterValidator(lambda n: n)],
        Annotated[Trip, at.Ge(1)],
        Annotated[str, msgspec.Meta(ge=1)],
        Annotated[int, at.MinLen(1)],
        list[Annotated[bool, at.Le(1)]],
    ],
)
def test_what_cannot_be_checked_is_refused_when_the_type_is_described(tp: Any) -> None:
    def f(it: int) -> None: ...

    f.__annotations__["it"] = tp
    with pytest.raises(ValidationError):
        schema_of(tp)
    with pytest.raises(ValidationError, match="the tool f"):
        tool_of(f)


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
def test_bounds_hold_as_python_compares(low: int, high: int, value: int) -> None:
    tp = list[Annotated[int | str, at.Ge(low), at.Lt(high)]]
    try:
        accepted = read(f"[{value}]", tp) == [value]
    except OutputError:
        accepted = False
    assert accepted == (low <= value < high)
