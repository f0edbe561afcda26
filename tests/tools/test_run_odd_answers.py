"""The tool loop, where the model or the server does not do as it should."""

from __future__ import annotations

from typing import Any

import pytest

import tabbyapi
from support.captures import load
from support.replay import ReplayServer, json_reply, replay
from support.tool_runs import Run, answer, lookup, sent, tide, weather
from tabbyapi import user
from tabbyapi.tools import tool_of


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
        ({"tools": [tool_of(weather).spec]}, "description alone cannot be called"),
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
