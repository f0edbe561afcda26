"""The tool loop, sync and async, against a server whose answers are decided beforehand."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest

import tabbyapi
from support.captures import load
from support.replay import ReplayServer, replay
from support.tool_runs import Run, answer, broken, sent, tide, weather
from tabbyapi import user
from tabbyapi.tools import PendingCall, ToolResult, ToolRun


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
