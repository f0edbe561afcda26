"""`chat.parse` and `chat.parse_stream`, sync and async, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import tabbyapi
from support.replay import ReplayServer, Reply, json_reply
from tabbyapi import user
from tabbyapi.structured import Parsed, schema_of

from .kinds import City, Ingredient, Node, Recipe


def answer(content: str | None, *, finish: str = "stop", eos: str | None = "end_filter") -> Reply:
    choice = {
        "index": 0,
        "finish_reason": finish,
        "eos_reason": eos,
        "message": {"role": "assistant", "content": content},
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    return json_reply(200, {"id": "cmpl-1", "choices": [choice], "usage": usage, "model": "m"})


def stream(pieces: Sequence[str], *, finish: str = "stop", then: Any = "keep") -> Reply:
    """A stream with these pieces of content, one event each."""
    chunks = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    chunks.append({"index": 0, "delta": {}, "finish_reason": finish})
    payloads = [json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [c]}) for c in chunks]
    events = [f"data: {payload}\r\n\r\n".encode() for payload in [*payloads, "[DONE]"]]
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    if then == "hang":  # the model goes on, as far as the client can tell
        return Reply([head, *framed[: len(pieces)]], "hang")
    return Reply([head, *framed, b"0\r\n\r\n"], then)


Parse = Callable[..., Parsed[Any]]


@pytest.fixture(params=["sync", "async"])
def parse(request: pytest.FixtureRequest) -> Parse:
    """`chat.parse` of either client: parse(server, T)."""

    def sync(server: ReplayServer, tp: Any, **params: Any) -> Parsed[Any]:
        with tabbyapi.Client(server.url) as client:
            return client.chat.parse([user("Tea?")], tp, **params)

    async def asynchronous(server: ReplayServer, tp: Any, **params: Any) -> Parsed[Any]:
        async with tabbyapi.AsyncClient(server.url) as client:
            return await client.chat.parse([user("Tea?")], tp, **params)

    if request.param == "sync":
        return sync
    return lambda *args, **params: asyncio.run(asynchronous(*args, **params))


class Streamed(msgspec.Struct):
    """What came of a stream: the snapshots, then the value or the error."""

    partials: list[Any]
    value: Any = None
    error: Any = None
    response: Any = None


Watch = Callable[..., Streamed]


@pytest.fixture(params=["sync", "async"])
def watch(request: pytest.FixtureRequest) -> Watch:
    """`chat.parse_stream` of either client, read to its end: watch(server, T)."""

    def sync(server: ReplayServer, tp: Any) -> Streamed:
        seen = Streamed([])
        with (
            tabbyapi.Client(server.url) as client,
            client.chat.parse_stream([user("Tea?")], tp) as answer,
        ):
            try:
                for partial in answer:
                    seen.partials.append(partial)
                seen.value, seen.response = answer.value, answer.response
            except tabbyapi.TabbyError as error:
                seen.error = error
        return seen

    async def asynchronous(server: ReplayServer, tp: Any) -> Streamed:
        seen = Streamed([])
        async with (
            tabbyapi.AsyncClient(server.url) as client,
            client.chat.parse_stream([user("Tea?")], tp) as answer,
        ):
            try:
                async for partial in answer:
                    seen.partials.append(partial)
                seen.value, seen.response = answer.value, answer.response
            except tabbyapi.TabbyError as error:
                seen.error = error
        return seen

    if request.param == "sync":
        return sync
    return lambda *args: asyncio.run(asynchronous(*args))


TEA = '{"title": "Tea", "ingredients": [{"name": "leaf", "amount": 2}], "minutes": 3}'


def test_the_schema_goes_with_the_request_and_the_value_comes_back(parse: Parse) -> None:
    with ReplayServer(answer(TEA)) as server:
        result = parse(server, Recipe, temperature=0)
    assert result.value == Recipe("Tea", [Ingredient("leaf", 2)], 3)
    assert result.response.text == TEA
    body = server.requests[0].json
    assert body["json_schema"] == schema_of(Recipe)
    assert body["temperature"] == 0


@pytest.mark.parametrize(
    ("tp", "text", "value"),
    [
        (list[City], '[{"name": "Oslo"}]', [City(name="Oslo")]),
        (int | str, '"x"', "x"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (City | None, "null", None),
    ],
)
def test_containers_and_unions_can_be_asked_for(
    parse: Parse, tp: Any, text: str, value: Any
) -> None:
    with ReplayServer(answer(text)) as server:
        assert parse(server, tp).value == value


@pytest.mark.parametrize(
    ("content", "finish", "eos", "match"),
    [
        ('{"title": "Te', "length", "max_new_tokens", "cut off after 9 tokens.*max_tokens"),
        ("12", "length", "max_new_tokens", "cut off"),
        (None, "length", "max_new_tokens", "cut off"),
        ('{"title": 5}', "stop", "end_filter", r"Expected `str`, got `int`, at \$.title"),
        ("Certainly! ", "stop", "stop_token", "character 0"),
        (None, "stop", "stop_token", "it is empty"),
    ],
)
def test_an_answer_that_is_cut_off_or_of_another_shape_raises_with_text_and_response(
    parse: Parse, content: str | None, finish: str, eos: str, match: str
) -> None:
    with (
        ReplayServer(answer(content, finish=finish, eos=eos)) as server,
        pytest.raises(tabbyapi.OutputError, match=match) as caught,
    ):
        parse(server, Recipe if content != "12" else int)
    assert caught.value.text == (content or "")
    assert caught.value.response.text == (content or "")


def test_an_object_that_was_whole_when_the_limit_struck_is_accepted(parse: Parse) -> None:
    with ReplayServer(answer(TEA, finish="length", eos="max_new_tokens")) as server:
        assert parse(server, Recipe).value.title == "Tea"


def test_the_reason_a_server_gives_for_the_end_is_noted(parse: Parse) -> None:
    with (
        ReplayServer(answer('{"title": "ha ha ha', eos="loop_detected")) as server,
        pytest.raises(tabbyapi.OutputError) as caught,
    ):
        parse(server, Recipe)
    assert "loop_detect_window" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "params", [{"n": 2}, {"json_schema": {}}, {"regex_pattern": "a"}, {"response_format": {}}]
)
def test_a_second_constraint_or_several_answers_are_refused(
    parse: Parse, params: dict[str, Any]
) -> None:
    with ReplayServer(answer(TEA)) as server:
        with pytest.raises(tabbyapi.ValidationError) as caught:
            parse(server, Recipe, **params)
        assert caught.value.field == next(iter(params))
        assert server.requests == []


# ----------------------------------------------------------------------- streams


def test_a_stream_yields_the_growing_value_and_ends_typed(watch: Watch) -> None:
    pieces = ['{"title": "T', 'ea", "ingr', 'edients": [{"name": "leaf", ', '"amount": 2}]}']
    with ReplayServer(stream(pieces)) as server:
        seen = watch(server, Recipe)
    assert seen.partials == [
        {"title": "T"},
        {"title": "Tea"},
        {"title": "Tea", "ingredients": [{"name": "leaf"}]},
        {"title": "Tea", "ingredients": [{"name": "leaf", "amount": 2}]},
    ]
    assert seen.value == Recipe("Tea", [Ingredient("leaf", 2)])
    assert seen.response.text == "".join(pieces)
    assert server.requests[0].json["json_schema"] == schema_of(Recipe)


def test_snapshots_do_not_change_afterwards(watch: Watch) -> None:
    with ReplayServer(stream(["[", "1,", "2", "]"])) as server:
        assert watch(server, list[int]).partials == [[], [1], [1, 2]]


def test_a_server_that_does_not_stream_gives_one_snapshot(watch: Watch) -> None:
    with ReplayServer(answer('{"value": 1}')) as server:
        seen = watch(server, Node)
    assert seen.partials == [{"value": 1}]
    assert seen.value == Node(1)


def test_a_stream_that_is_cut_off_raises_after_its_last_snapshot(watch: Watch) -> None:
    with ReplayServer(stream(['{"value": 1, "chil'], finish="length")) as server:
        seen = watch(server, Node)
    assert seen.partials == [{"value": 1}]
    assert isinstance(seen.error, tabbyapi.OutputError)
    assert "max_tokens" in str(seen.error)


def test_an_answer_that_is_no_json_is_given_up_at_once_and_ends_on_the_server(
    watch: Watch,
) -> None:
    with ReplayServer(stream(["Sure, ", "here"], then="hang")) as server:
        seen = watch(server, Node)
        assert server.left.wait(10)
    assert isinstance(seen.error, tabbyapi.OutputError)
    assert seen.error.response.text.startswith("Sure, ")


def test_the_value_before_the_end_is_an_error_that_says_so() -> None:
    with (
        ReplayServer(stream(['{"value"', ": 1}"])) as server,
        tabbyapi.Client(server.url) as client,
        client.chat.parse_stream([user("x")], Node) as answer,
    ):
        next(iter(answer))
        with pytest.raises(tabbyapi.StreamError, match="to its end") as caught:
            _ = answer.value
    assert caught.value.partial.text.startswith('{"value"')


def test_create_takes_types_for_json_schema_and_response_format() -> None:
    with ReplayServer(answer("{}")) as server, tabbyapi.Client(server.url) as client:
        client.chat.create([user("x")], json_schema=Recipe)
        client.chat.create([user("x")], response_format=Recipe)
        client.chat.create([user("x")], json_schema=list[Recipe])
        with pytest.raises(tabbyapi.ValidationError, match="Python type") as caught:
            client.chat.create([user("x")], json_schema="Recipe")
    assert caught.value.field == "json_schema"
    first, second, third = (request.json for request in server.requests)
    assert first["json_schema"] == schema_of(Recipe)
    assert second["response_format"] == {"type": "json_schema", "json_schema": schema_of(Recipe)}
    assert third["json_schema"] == schema_of(list[Recipe])
