"""Arguments as models write them, and results as models read them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi.errors import OutputError
from tabbyapi.tools import tool_of
from tabbyapi.tools.values import arguments_of, content_of
from tabbyapi.types import ChatImageURL, ChatMessageContent


@dataclass
class Place:
    city: str


class Window(pydantic.BaseModel):
    hours: int


def everything(
    text: str,
    number: int = 0,
    place: Place | None = None,
    window: Window | None = None,
    choice: int | str = 0,
    level: Annotated[int, pydantic.Field(ge=1, le=3)] = 1,
    note: str | None = None,
    flag: bool = False,
    anything: Any = None,
) -> None: ...


TOOL = tool_of(everything)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"text": "a", "number": 5}', {"text": "a", "number": 5}),
        ('{"text": "a", "number": "5"}', {"text": "a", "number": 5}),
        ('{"text": 90210}', {"text": "90210"}),
        ('{"text": {"a": [1]}}', {"text": '{"a": [1]}'}),
        ('{"text": true, "note": 5}', {"text": "true", "note": "5"}),
        ('{"text": "a", "note": null}', {"text": "a", "note": None}),
        ('{"text": "a", "number": null}', {"text": "a"}),
        ('{"text": "a", "place": {"city": "Oslo"}}', {"text": "a", "place": Place("Oslo")}),
        ('{"text": "a", "window": {"hours": 2}}', {"text": "a", "window": Window(hours=2)}),
        ('{"text": "a", "choice": "7"}', {"text": "a", "choice": "7"}),
        ('{"text": "a", "flag": "true"}', {"text": "a", "flag": True}),
        ('{"text": "a", "anything": [1, null]}', {"text": "a", "anything": [1, None]}),
    ],
)
def test_arguments_are_read_as_the_parameters_types_and_loose_json_is_forgiven(
    arguments: str, expected: dict[str, Any]
) -> None:
    assert arguments_of(TOOL, arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("", "missing: text"),
        ("{}", "missing: text"),
        ('{"text": "a", "number": "five"}', r"at \$.number"),
        ('{"text": "a", "place": {"city": 5}}', r"at \$.place.city"),
        ('{"text": "a", "window": {"hours": "x"}}', "hours"),
        ('{"text": "a", "level": 9}', r"at \$.level"),
        ('{"text": "a", "colour": 1}', "no parameter 'colour'; the parameters are: text, number"),
        ('{"text": null}', r"at \$.text"),
        ('{"text": "a"', "JSON object"),
        ('["a"]', "JSON object"),
        ("city=Oslo", "JSON object"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words_for_the_model(
    arguments: str, match: str
) -> None:
    with pytest.raises(OutputError, match=match) as caught:
        arguments_of(TOOL, arguments)
    assert caught.value.text == arguments


@given(st.text(max_size=40))
def test_any_text_for_arguments_is_read_or_refused(text: str) -> None:
    # Any other error fails the test.
    with suppress(OutputError):
        assert "text" in arguments_of(TOOL, text)


@given(
    st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
    | st.lists(st.integers(), max_size=3)
)  # fmt: skip
def test_a_string_parameter_takes_any_json(value: Any) -> None:
    read = arguments_of(TOOL, json.dumps({"text": value}))["text"]
    assert read == (value if isinstance(value, str) else json.dumps(value))


class Plain:
    def __str__(self) -> str:
        return "plain"


class Shape(msgspec.Struct):
    sides: int


PICTURE = ChatMessageContent(type="image_url", image_url=ChatImageURL("https://x.test/a.png"))


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("sunny", "sunny"),
        (None, "null"),
        (5, "5"),
        ({"a": "ä"}, '{"a":"ä"}'),
        (Place("Oslo"), '{"city":"Oslo"}'),
        ([Window(hours=1)], '[{"hours":1}]'),
        (Shape(4), '{"sides":4}'),
        ([Plain()], '["plain"]'),
        ({(1, 2): 3}, '{"(1, 2)":3}'),
        (PICTURE, [PICTURE]),
        (["look:", PICTURE, 5], ["look:", PICTURE, "5"]),
    ],
)
def test_a_result_is_told_as_text_parts_or_json(value: Any, content: Any) -> None:
    assert content_of(value) == content
