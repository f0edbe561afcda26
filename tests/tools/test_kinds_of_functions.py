"""Wrappers, generators and methods as tools; tools that come with a schema."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from support.replay import ReplayServer
from support.tool_runs import Run, answer, sent
from tabbyapi import ChatMessageContent, ValidationError, tool_of
from tabbyapi.tools import Tool

if TYPE_CHECKING:
    from nowhere import Thing  # type: ignore[import-not-found]


def told(run: Run, tool: Any, arguments: str = '{"city": "Oslo"}', **params: Any) -> Any:
    """What the model is told of one call."""
    name = tool_of(tool).name
    with ReplayServer([answer(None, (name, arguments)), answer("Done.")]) as server:
        run(server, tools=[tool], **params)
        return sent(server, 1)[-1]["content"]


async def tide(city: str) -> str:
    """Height of the tide."""
    await asyncio.sleep(0)
    return f"high in {city}"


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Station:
    async def __call__(self, city: str) -> str:
        """Weather at a station."""
        return f"sun in {city}"

    def report(self, city: str) -> str:
        """Weather report."""
        return f"report of {city}"

    @classmethod
    def count(cls, city: str) -> int:
        """Stations of a city."""
        return len(city)


def later(city: str) -> Any:
    """Gives a coroutine that gives one."""

    async def inner() -> Any:
        return tide(city)

    return inner()


def pieces(city: str) -> Iterator[str]:
    """Yields its answer."""
    yield "sun in "
    yield city


def numbers(city: str) -> Iterator[int]:
    """Yields numbers."""
    yield from range(len(city))


async def streamed(city: str) -> AsyncIterator[str]:
    """Yields its answer."""
    for piece in ("rain in ", city):
        await asyncio.sleep(0)
        yield piece


@pytest.mark.parametrize("limit", [None, 20.0])
@pytest.mark.parametrize(
    ("tool", "content"),
    [
        (wrapped(tide), "high in Oslo"),
        (wrapped(wrapped(tide)), "high in Oslo"),
        (functools.partial(wrapped(tide)), "high in Oslo"),
        (lambda city: tide(city), "high in Oslo"),
        (Station(), "sun in Oslo"),
        (Station().report, "report of Oslo"),
        (Station.count, "4"),
        (later, "high in Oslo"),
        (pieces, "sun in Oslo"),
        (numbers, "[0,1,2,3]"),
        (streamed, "rain in Oslo"),
        (wrapped(streamed), "rain in Oslo"),
    ],
)
def test_whatever_a_call_returns_is_awaited_and_joined(
    run: Run, tool: Any, content: str, limit: float | None
) -> None:
    if getattr(tool, "__name__", "") == "<lambda>":
        tool = tool_of(tool, name="tide")
    assert told(run, tool, call_timeout=limit) == content


def test_an_unbound_method_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"bound one, such as Station\(\)\.report"):
        tool_of(Station.report)


def test_a_return_annotation_need_not_exist_at_run_time() -> None:
    def find(city: str) -> Thing:
        """Find a thing."""
        return city

    assert tool_of(find).schema["properties"] == {"city": {"type": "string"}}


@pytest.mark.parametrize(
    "value",
    ["a\udc80b", ["a\udc80b"], {"a\udc80b": 1}, ChatMessageContent(text="a\udc80b")],
)
def test_half_a_character_in_a_result_is_replaced(run: Run, value: Any) -> None:
    def odd(city: str) -> Any:
        """A name that is not UTF-8."""
        return value

    assert "a?b" in str(told(run, odd))


def test_half_a_character_in_an_error_is_replaced(run: Run) -> None:
    def odd(city: str) -> None:
        """Fails on a file."""
        raise FileNotFoundError("a\udc80b")

    assert told(run, odd) == "Error: FileNotFoundError: a?b"


# ------------------------------------------------------------------- without a signature

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "from": {"type": "string"}},
    "required": ["city"],
}


def called(**arguments: Any) -> str:
    return f"called with {arguments}"


def described(handler: Any) -> dict[str, Any]:
    function = {"name": "find", "description": "Find it.", "parameters": SCHEMA}
    return {"type": "function", "function": function, "handler": handler}


@pytest.mark.parametrize(
    "tool", [Tool.from_schema("find", "Find it.", SCHEMA, called), described(called)]
)
def test_a_tool_from_a_schema_is_called_with_what_the_model_gives(run: Run, tool: Any) -> None:
    assert told(run, tool, '{"city": "Oslo", "from": "x"}') == (
        "called with {'city': 'Oslo', 'from': 'x'}"
    )
    assert told(run, tool, '{"from": "x"}') == "Error: wrong arguments: missing: city"


def test_a_dict_with_a_handler_is_sent_without_it(run: Run) -> None:
    with ReplayServer([answer("Hm.")]) as server:
        run(server, tools=[described(called)])
        (spec,) = server.requests[0].json["tools"]
    assert spec == {k: v for k, v in described(called).items() if k != "handler"}


def test_a_closed_schema_takes_no_other_arguments(run: Run) -> None:
    closed = {**SCHEMA, "additionalProperties": False}
    tool = Tool.from_schema("find", "Find it.", closed, called)
    assert "there is no parameter 'color'" in told(run, tool, '{"city": "a", "color": "red"}')


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("my tool", "x", SCHEMA, called), "is no name for a tool"),
        (("find", "x", {"type": "string"}, called), "schema of type object"),
        (("find", "x", [], called), "schema of type object"),
        (("find", "x", SCHEMA, "called"), "cannot be called"),
    ],
)
def test_a_tool_that_cannot_be_used_is_refused_when_it_is_made(
    arguments: tuple[Any, ...], match: str
) -> None:
    with pytest.raises(ValidationError, match=match):
        Tool.from_schema(*arguments)


def test_an_async_tool_is_known_through_its_wrappers() -> None:
    assert tool_of(wrapped(tide)).is_async
    assert not tool_of(wrapped(pieces)).is_async
    assert inspect.iscoroutinefunction(tide)
