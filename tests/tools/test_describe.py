"""What a model is told about a function."""

from __future__ import annotations

import enum
import functools
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from llguidance import LLMatcher

from tabbyapi import errors
from tabbyapi.tools import tool_of


class Unit(enum.StrEnum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclass
class Place:
    city: str
    country: str = "Norway"


class Window(pydantic.BaseModel):
    hours: int = pydantic.Field(ge=1, description="how far ahead")


def google(place: Place, unit: Unit = Unit.CELSIUS, days: int = 1) -> str:
    """Weather of a place.

    Looks at the nearest station.

    Args:
        place: where
        unit: of the temperature
        days: how many, at most
            a week

    Returns:
        A line of text.
    """
    return f"{place} {unit} {days}"


def numpy(city: str, days: int = 1) -> str:
    """Weather of a place.

    Parameters
    ----------
    city : str
        where
    days : int
        how many

    Returns
    -------
    str
        A line of text.
    """
    return f"{city} {days}"


def rest(city: str, days: int = 1) -> str:
    """Weather of a place.

    :param city: where
    :param days: how many
    :returns: a line of text
    """
    return f"{city} {days}"


def annotated(
    city: Annotated[str, "where"],
    days: Annotated[int, msgspec.Meta(description="how many", ge=1, le=7)] = 1,
) -> str:
    """Weather of a place."""
    return f"{city} {days}"


class Station:
    """Unused."""

    def measure(self, city: str) -> str:
        """Weather of a place."""
        return city

    async def __call__(self, city: str) -> str:
        """Called."""
        return city


def test_a_function_is_described_by_its_signature_and_docstring() -> None:
    spec = tool_of(google).spec
    assert spec["type"] == "function"
    function = spec["function"]
    assert function["name"] == "google"
    assert function["description"] == "Weather of a place.\n\nLooks at the nearest station."
    parameters = function["parameters"]
    assert parameters["properties"]["unit"] == {
        "$ref": "#/$defs/Unit", "description": "of the temperature", "default": "c",
    }  # fmt: skip
    assert parameters["properties"]["days"] == {
        "type": "integer", "description": "how many, at most\na week", "default": 1,
    }  # fmt: skip
    assert parameters["$defs"]["Place"]["required"] == ["city"]
    assert parameters["required"] == ["place"]
    assert parameters["additionalProperties"] is False


@pytest.mark.parametrize("function", [numpy, rest, annotated])
def test_every_usual_way_of_describing_parameters_is_understood(function: Any) -> None:
    tool = tool_of(function)
    assert tool.description == "Weather of a place."
    properties = tool.schema["properties"]
    assert properties["city"] == {"type": "string", "description": "where"}
    assert properties["days"]["description"] == "how many"


def test_constraints_in_annotations_reach_the_schema() -> None:
    def forecast(
        days: Annotated[int, msgspec.Meta(ge=1, le=7)],
        city: Annotated[str, pydantic.Field(min_length=2, description="where")],
    ) -> None: ...

    assert tool_of(forecast).schema["properties"] == {
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "city": {"type": "string", "minLength": 2, "description": "where"},
    }


@pytest.mark.parametrize(
    "function",
    [google, annotated, Station().measure, Station(), functools.partial(numpy, days=3)],
)
def test_every_description_has_what_servers_require_and_compiles(function: Any) -> None:
    spec = tool_of(function).spec["function"]
    assert spec["name"]
    assert spec["description"]
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(spec["parameters"]))
    assert LLMatcher.validate_grammar(grammar) == ""


def test_a_function_without_docstring_is_described_by_its_name() -> None:
    def find_nearest_shop(city):  # type: ignore[no-untyped-def]
        return city

    tool = tool_of(find_nearest_shop)
    assert tool.description == "find nearest shop"
    assert tool.schema["properties"] == {"city": {}}


def test_self_and_what_a_partial_has_fixed_are_not_offered_to_the_model() -> None:
    assert list(tool_of(Station().measure).parameters) == ["city"]
    assert list(tool_of(functools.partial(numpy, days=3)).parameters) == ["city"]
    assert tool_of(functools.partial(numpy, days=3)).name == "numpy"
    assert tool_of(Station()).name == "Station"
    assert tool_of(Station()).description == "Unused."


def test_models_of_pydantic_may_be_parameters() -> None:
    def forecast(window: Window | None = None) -> None: ...

    schema = tool_of(forecast).schema
    assert schema["properties"]["window"]["default"] is None
    assert schema["$defs"]["Window"]["properties"]["hours"]["description"] == "how far ahead"


def test_further_named_arguments_are_allowed_where_the_function_takes_them() -> None:
    def label(text: str, **colours: int) -> None: ...

    schema = tool_of(label).schema
    assert schema["additionalProperties"] == {"type": "integer"}
    assert schema["required"] == ["text"]


def test_name_and_description_can_be_given() -> None:
    tool = tool_of(lambda city: city, name="weather", description="Weather of a city.")
    assert (tool.name, tool.description) == ("weather", "Weather of a city.")
    assert tool_of(tool) is tool


def takes_many(*cities: str) -> None: ...


def takes_the_unknown(place: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821


def takes_the_impossible(place: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda city: city, "name="),
        (takes_many, "list parameter"),
        (takes_the_unknown, "TYPE_CHECKING"),
        (takes_the_impossible, "tool takes_the_impossible"),
        (print, r"\*args"),
    ],
)
def test_what_cannot_be_described_is_refused_with_a_way_out(function: Any, match: str) -> None:
    with pytest.raises(errors.ValidationError, match=match) as caught:
        tool_of(function)
    assert caught.value.field == "tools"


def test_a_choice_of_literals_is_an_enum() -> None:
    def set_mode(mode: Literal["eco", "fast"] = "eco") -> None: ...

    mode = tool_of(set_mode).schema["properties"]["mode"]
    assert mode["default"] == "eco"
    assert sorted(mode["enum"]) == ["eco", "fast"]
