"""The tool loop, sync and async, against a server whose answers are decided beforehand."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import tabbyapi
from support.captures import load
from support.replay import ReplayServer, Reply, json_reply, replay
from tabbyapi import user
from tabbyapi.tools import PendingCall, ToolResult, ToolRun, tool_of


def answer(
    content: str | None = None,
    *calls: tuple[str, str],
    finish: str | None = None,
    eos: str = "stop_token",
    ids: bool = True,
) -> Reply:
    """An answer as TabbyAPI sends it; calls are names with their arguments as JSON."""
    tool_calls = [
        {
            **({"id": f"call_{i}"} if ids else {}),
            "type": "function",
            "index": i,
            "function": {"name": name, "arguments": arguments},
        }
        for i, (name, arguments) in enumerate(calls)
    ]
    message = {
        "role": "assistant",
        "content": content,
        "reasoning_content": None,
        "tool_calls": tool_calls or None,
        "tool_call_id": None,
    }
    choice = {
        "index": 0,
        "finish_reason": finish or ("tool_calls" if calls else "stop"),
        "eos_reason": eos,
        "stop_str": None,
        "message": message,
        "logprobs": None,
    }
    body = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return json_reply(200, {**body, "choices": [choice], "usage": None})


Run = Callable[..., ToolRun]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """`chat.run` of either client: run(server, tools=[...])."""

    def sync(server: ReplayServer, messages: Any = None, **params: Any) -> ToolRun:
        with tabbyapi.Client(server.url) as client:
            return client.chat.run(messages or [user("Weather?")], **params)

    async def asynchronous(server: ReplayServer, messages: Any = None, **params: Any) -> ToolRun:
        async with tabbyapi.AsyncClient(server.url) as client:
            return await client.chat.run(messages or [user("Weather?")], **params)

    if request.param == "sync":
        return sync
    return lambda *args, **params: asyncio.run(asynchronous(*args, **params))


def weather(city: str, days: int = 1) -> str:
    """Weather of a city."""
    return f"{city}: sun for {days}"


async def tide(city: str) -> dict[str, int]:
    """Height of the tide."""
    await asyncio.sleep(0)
    return {"cm": len(city)}


def broken(city: str) -> str:
    """Always fails."""
    raise RuntimeError(f"no line to {city}")


def sent(server: ReplayServer, request: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = server.requests[request].json["messages"]
    return messages


def test_calls_are_made_and_their_results_sent_until_the_model_answers(run: Run) -> None:
    replies = [
        answer(
            "Let me see.",
            ("weather", '{"city": "Oslo", "days": 2}'),
            ("tide", '{"city": "Rome"}'),
        ),
        answer(None, ("weather", '{"city": "Rome"}')),
        answer("Fine everywhere."),
    ]  # fmt: skip
    with ReplayServer(replies) as server:
        result = run(server, tools=[weather, tide], temperature=0)
    assert result.text == "Fine everywhere."
    assert [m.role for m in result.messages] == [
        "assistant", "tool", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert [r.value for r in result.results] == ["Oslo: sun for 2", {"cm": 4}, "Rome: sun for 1"]
    assert len(result.responses) == 3
    third = sent(server, 2)
    assert third[0] == {"role": "user", "content": "Weather?"}
    assert third[1]["content"] == "Let me see."
    assert third[2] == {
        "role": "tool", "content": "Oslo: sun for 2", "tool_call_id": "call_0",
    }  # fmt: skip
    assert third[3] == {"role": "tool", "content": '{"cm":4}', "tool_call_id": "call_1"}
    for request in server.requests:
        assert [t["function"]["name"] for t in request.json["tools"]] == ["weather", "tide"]
        assert request.json["temperature"] == 0


def test_what_a_recorded_server_sends_is_understood(run: Run) -> None:
    def get_weather(city: str, days: int) -> str:
        """Weather for a city."""
        return f"{city} {days}"

    recorded = replay(load()["tools_nonstream"])
    with ReplayServer([recorded, answer("Done.")]) as server:
        result = run(server, tools=[get_weather])
    assert [r.value for r in result.results] == ["Oslo 2", "Rome 3"]
    ids = [call["id"] for call in sent(server, 1)[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in sent(server, 1)[2:]] == ids


def test_calls_of_one_round_run_at_the_same_time(run: Run) -> None:
    together = threading.Barrier(3, timeout=20)

    def meet(city: str) -> str:
        """Waits for the others."""
        together.wait()
        return city

    calls = [("meet", f'{{"city": "{i}"}}') for i in range(3)]
    with ReplayServer([answer(None, *calls), answer("Met.")]) as server:
        result = run(server, tools=[meet])
    assert [r.content for r in result.results] == ["0", "1", "2"]


def test_async_tools_of_one_round_run_at_the_same_time(run: Run) -> None:
    arrived = threading.Barrier(2, timeout=20)

    async def meet(city: str) -> str:
        """Waits for the other."""
        await asyncio.to_thread(arrived.wait)
        return city

    calls = [("meet", '{"city": "a"}'), ("meet", '{"city": "b"}')]
    with ReplayServer([answer(None, *calls), answer("Met.")]) as server:
        assert run(server, tools=[meet]).text == "Met."


def test_without_parallel_tool_calls_they_run_one_by_one(run: Run) -> None:
    running: list[str] = []

    def alone(city: str) -> int:
        """Counts who runs."""
        running.append(city)
        time.sleep(0.01)
        count = len(running)
        running.remove(city)
        return count

    calls = [("alone", f'{{"city": "{i}"}}') for i in range(4)]
    with ReplayServer([answer(None, *calls), answer("Done.")]) as server:
        result = run(server, tools=[alone], parallel_tool_calls=False)
    assert [r.value for r in result.results] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("wether", "{}"), "Error: there is no tool 'wether'; the tools are: weather, broken"),
        (("weather", '{"city": "Os'), "Error: wrong arguments: the arguments must be a JSON"),
        (("weather", "{}"), "Error: wrong arguments: missing: city"),
        (("weather", '{"city": "x", "days": "two"}'), "Error: wrong arguments: Expected `int`"),
        (("broken", '{"city": "x"}'), "Error: RuntimeError: no line to x"),
    ],
    ids=["unknown tool", "no JSON", "missing", "wrong type", "exception"],
)
def test_what_goes_wrong_in_a_call_is_told_to_the_model(
    run: Run, call: tuple[str, str], told: str
) -> None:
    with ReplayServer([answer(None, call), answer("I see.")]) as server:
        result = run(server, tools=[weather, broken])
    assert result.text == "I see."
    assert sent(server, 1)[-1]["content"].startswith(told)
    assert result.results[0].error is not None


def test_raise_errors_raises_the_exception_of_the_tool_itself(run: Run) -> None:
    with (
        ReplayServer([answer(None, ("broken", '{"city": "x"}'))]) as server,
        pytest.raises(RuntimeError, match="no line to x") as caught,
    ):
        run(server, tools=[broken], raise_errors=True)
    assert caught.value.__notes__ == ["in the call of the tool broken"]


def test_a_call_that_takes_too_long_is_told_to_the_model(run: Run) -> None:
    release = threading.Event()

    def slow(city: str) -> str:
        """Takes its time."""
        release.wait(30)
        return city

    async def slow_async(city: str) -> str:
        """Takes its time."""
        await asyncio.sleep(30)
        return city

    calls = [
        ("slow", '{"city": "x"}'),
        ("weather", '{"city": "y"}'),
        ("slow_async", '{"city": "z"}'),
    ]
    with ReplayServer([answer(None, *calls), answer("Never mind.")]) as server:
        result = run(server, tools=[slow, slow_async, weather], call_timeout=0.3)
    release.set()
    late = "Error: TimeoutError: no result within 0.3 s"
    assert [r.content for r in result.results] == [late, "y: sun for 1", late]


def test_a_timeout_inside_a_tool_is_not_taken_for_ours(run: Run) -> None:
    def impatient(city: str) -> str:
        """Gives up."""
        raise TimeoutError("the sensor is silent")

    with ReplayServer([answer(None, ("impatient", '{"city": "x"}')), answer("Oh.")]) as server:
        result = run(server, tools=[impatient], call_timeout=30)
    assert result.results[0].content == "Error: TimeoutError: the sensor is silent"


def test_hooks_see_calls_before_and_results_after_and_may_decline(run: Run) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    told: list[ToolResult] = []

    def on_call(call: PendingCall) -> bool:
        asked.append((call.name, call.arguments))
        return call.arguments["city"] != "Rome"

    calls = [("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}'), ("nothing", "{}")]
    with ReplayServer([answer(None, *calls), answer("So be it.")]) as server:
        run(server, tools=[weather], on_call=on_call, on_result=told.append)
    assert asked == [("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})]
    assert [r.content for r in told] == [
        "Oslo: sun for 1",
        "Error: the user did not allow this call.",
        "Error: there is no tool 'nothing'; the tools are: weather",
    ]


def test_hooks_of_the_async_client_may_be_async() -> None:
    told: list[str] = []

    async def main(url: str) -> ToolRun:
        async def on_call(call: PendingCall) -> bool:
            await asyncio.sleep(0)
            return call.name == "tide"

        async def on_result(result: ToolResult) -> None:
            await asyncio.sleep(0)
            told.append(str(result.content))

        async with tabbyapi.AsyncClient(url) as client:
            return await client.chat.run(
                [user("x")], tools=[weather, tide], on_call=on_call, on_result=on_result
            )

    calls = [("weather", '{"city": "Oslo"}'), ("tide", '{"city": "Rome"}')]
    with ReplayServer([answer(None, *calls), answer("Done.")]) as server:
        asyncio.run(main(server.url))
    assert told == ["Error: the user did not allow this call.", '{"cm":4}']


def test_context_variables_reach_the_tools(run: Run) -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def ask(city: str) -> str:
        """Says who asks."""
        return who.get()

    calls = [("ask", '{"city": "a"}'), ("ask", '{"city": "b"}')]
    token = who.set("me")
    with ReplayServer([answer(None, *calls), answer("Done.")]) as server:
        result = run(server, tools=[ask])
    who.reset(token)
    assert [r.value for r in result.results] == ["me", "me"]


# ------------------------------------------------------------------- odd answers


@pytest.mark.parametrize("name", ["tools_broken_nonstream"])
def test_a_call_that_the_server_could_not_read_is_asked_for_once_more(run: Run, name: str) -> None:
    unreadable = replay(load()[name])
    with ReplayServer([unreadable, answer("Better.")]) as server:
        result = run(server, tools=[weather])
    assert result.text == "Better."
    assert sent(server, 1) == sent(server, 0)
    assert [m.role for m in result.messages] == ["assistant"]


def test_two_unreadable_calls_in_a_row_are_an_error(run: Run) -> None:
    with (
        ReplayServer(replay(load()["tools_broken_nonstream"])) as server,
        pytest.raises(tabbyapi.ToolLoopError, match="tool format"),
    ):
        run(server, tools=[weather])
    assert len(server.requests) == 2


def test_a_call_cut_off_by_the_token_limit_is_an_error(run: Run) -> None:
    with (
        ReplayServer(replay(load()["tools_truncated_nonstream"])) as server,
        pytest.raises(tabbyapi.OutputError, match="max_tokens") as caught,
    ):
        run(server, tools=[weather], max_tokens=6)
    assert caught.value.response.choices[0].eos_reason == "max_new_tokens"


def test_a_cut_off_answer_without_calls_is_returned_as_create_returns_it(run: Run) -> None:
    cut = answer("The weath", finish="length", eos="max_new_tokens")
    with ReplayServer(cut) as server:
        result = run(server, tools=[weather])
    assert (result.text, result.response.finish_reason) == ("The weath", "length")


def test_a_model_that_never_stops_calling_is_stopped_with_the_transcript(run: Run) -> None:
    with (
        ReplayServer(answer(None, ("weather", '{"city": "Oslo"}'))) as server,
        pytest.raises(tabbyapi.ToolLoopError, match="after 3 rounds") as caught,
    ):
        run(server, tools=[weather], max_rounds=3)
    assert len(server.requests) == 4
    assert [m.role for m in caught.value.messages] == ["assistant", "tool"] * 3


def test_calls_without_an_id_get_one_that_their_result_answers(run: Run) -> None:
    calls = [("weather", '{"city": "a"}'), ("weather", '{"city": "b"}')]
    with ReplayServer([answer(None, *calls, ids=False), answer("Done.")]) as server:
        run(server, tools=[weather])
    _, asked, first, second = sent(server, 1)
    ids = [call["id"] for call in asked["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert len(set(ids)) == 2


def test_a_forced_call_is_forced_only_once(run: Run) -> None:
    replies = [answer(None, ("weather", '{"city": "Oslo"}')), answer("Sunny.")]
    with ReplayServer(replies) as server:
        run(server, tools=[weather], tool_choice="required")
    assert [r.json["tool_choice"] for r in server.requests] == ["required", "auto"]


def test_the_tools_of_a_prepared_request_are_run(run: Run) -> None:
    request = tabbyapi.ChatCompletionRequest(
        messages=[user("Weather?")], tools=[weather], temperature=0.5, tool_choice="required"
    )
    replies = [answer(None, ("weather", '{"city": "Oslo"}')), answer("Sunny.")]
    with ReplayServer(replies) as server:
        assert run(server, request).text == "Sunny."
    assert [r.json["temperature"] for r in server.requests] == [0.5, 0.5]
    assert [r.json["tool_choice"] for r in server.requests] == ["required", "auto"]
    assert len(sent(server, 1)) == 3


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({}, "no tools"),
        ({"tools": []}, "no tools"),
        ({"tools": weather}, "must be a list"),
        ({"tools": [weather, weather]}, "two tools are called 'weather'"),
        ({"tools": [tool_of(weather).spec]}, "must be a function"),
        ({"tools": [weather], "n": 2}, "n must be 1"),
        ({"tools": [weather], "max_rounds": 0}, "max_rounds"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_sent(
    run: Run, params: dict[str, Any], match: str
) -> None:
    with (
        ReplayServer(answer("No.")) as server,
        pytest.raises(tabbyapi.ValidationError, match=match),
    ):
        run(server, **params)
    assert server.requests == []


def test_create_takes_functions_and_describes_them() -> None:
    with ReplayServer(answer("Hi.")) as server, tabbyapi.Client(server.url) as client:
        client.chat.create(
            [user("Hi")], tools=[weather, tool_of(tide), tool_of(tide).spec], tool_choice="none"
        )
    assert [t["function"] for t in server.requests[0].json["tools"]] == [
        tool_of(weather).spec["function"],
        tool_of(tide).spec["function"],
        tool_of(tide).spec["function"],
    ]


def test_an_error_of_the_server_leaves_the_rounds_so_far_to_go_on_from(run: Run) -> None:
    calls: list[str] = []

    def weather(city: str) -> str:
        """Tell the weather."""
        calls.append(city)
        return "sunny"

    broken = json_reply(500, {"detail": "out of memory"})
    replies = [answer(None, ("weather", '{"city": "Oslo"}')), broken]
    with ReplayServer(replies) as server, pytest.raises(tabbyapi.ServerError) as caught:
        run(server, tools=[weather])
    assert [message.role for message in caught.value.messages] == ["assistant", "tool"]
    with ReplayServer(answer("It is sunny.")) as server:
        outcome = run(server, [user("Weather?"), *caught.value.messages], tools=[weather])
        sent = server.requests[0].json["messages"]
    assert outcome.text == "It is sunny."
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert calls == ["Oslo"]


def test_an_error_before_the_first_round_has_nothing_to_go_on_from(run: Run) -> None:
    broken = json_reply(500, {"detail": "no"})
    with ReplayServer(broken) as server, pytest.raises(tabbyapi.ServerError) as caught:
        run(server, tools=[lookup])
    assert list(caught.value.messages) == []


def lookup(name: str) -> str:
    """Look something up."""
    return name
