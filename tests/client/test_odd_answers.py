"""Answers that are not quite TabbyAPI's: errors in disguise, nulls, pieces, halves, depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi
from tabbyapi import user
from tabbyapi.structured import read

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def stream_of(*payloads: Any) -> Reply:
    """A stream of events: JSON texts, or values to write as JSON."""
    texts = [item if isinstance(item, str) else json.dumps(item) for item in payloads]
    return Reply([HEAD, *(f"data: {text}\r\n\r\n".encode() for text in texts)], "close")


def chunk(delta: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **fields}]}


def streamed(*payloads: Any) -> tabbyapi.ChatCompletionResponse:
    """The response to a chat stream of these events."""
    with ReplayServer(stream_of(*payloads)) as server, tabbyapi.Client(server.url) as client:
        with client.chat.create_stream([user("Hello")]) as stream:
            stream.until_done()
        return stream.response


def answered(body: Any) -> tabbyapi.ChatCompletionResponse:
    with (
        ReplayServer(json_reply(200, body)) as server,
        tabbyapi.Client(server.url) as client,
    ):
        return client.chat.create([user("Hello")])


# ---------------------------------------------------------------- errors in disguise

CALLS: dict[str, Any] = {
    "chat": lambda client: client.chat.create([user("x")]),
    "chat stream": lambda client: client.chat.create_stream([user("x")]).until_done(),
    "completion": lambda client: client.completions.create("x"),
    "embeddings": lambda client: client.embeddings.create("x"),
    "models": lambda client: client.models.list(),
    "model": lambda client: client.models.get(),
    "props": lambda client: client.models.props(),
    "load": lambda client: client.models.load("m"),
    "load embedding": lambda client: client.models.load_embedding("m"),
    "unload": lambda client: client.models.unload(),
    "download": lambda client: client.models.download("o/r"),
    "loras": lambda client: client.lora.list(),
    "load lora": lambda client: client.lora.load("a"),
    "unload lora": lambda client: client.lora.unload(),
    "templates": lambda client: client.templates.list(),
    "switch template": lambda client: client.templates.switch("t"),
    "encode": lambda client: client.tokens.encode("x"),
    "count": lambda client: client.tokens.count("x"),
    "decode": lambda client: client.tokens.decode([1]),
    "overrides": lambda client: client.sampling.list_overrides(),
    "switch override": lambda client: client.sampling.switch_override("p"),
    "health": lambda client: client.health.check(),
    "permission": lambda client: client.auth.permission(),
}
DISGUISED: list[Any] = [
    {"error": "boom"},
    {"error": {"message": "boom", "code": 500}},
    {"detail": "boom"},
    {"object": "error", "message": "boom"},
]


@pytest.mark.parametrize("body", DISGUISED, ids=json.dumps)
@pytest.mark.parametrize("name", CALLS)
def test_an_error_under_a_good_status_is_raised_in_the_servers_words(name: str, body: Any) -> None:
    with (
        ReplayServer(json_reply(200, body)) as server,
        tabbyapi.Client(server.url, admin_key="a") as client,
        pytest.raises(tabbyapi.APIError, match="boom") as caught,
    ):
        CALLS[name](client)
    assert caught.value.status_code == 200


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", [{}, [], 5, "text"], ids=repr)
def test_an_answer_without_what_was_asked_for_is_no_answer(name: str, body: Any) -> None:
    with (
        ReplayServer(json_reply(200, body)) as server,
        tabbyapi.Client(server.url, admin_key="a") as client,
        pytest.raises(tabbyapi.RequestError, match="not in TabbyAPI's protocol"),
    ):
        CALLS[name](client)


def test_fewer_vectors_than_texts_are_no_answer() -> None:
    with (
        ReplayServer(json_reply(200, {"data": [{"embedding": [0.5]}]})) as server,
        tabbyapi.Client(server.url) as client,
        pytest.raises(tabbyapi.RequestError, match="1 vector for 2 texts"),
    ):
        client.embeddings.create(["a", "b"])


@pytest.mark.parametrize("event", DISGUISED, ids=json.dumps)
@pytest.mark.parametrize("before", [[], [chunk({"content": "Hi"})]], ids=["first", "later"])
def test_an_error_event_of_any_shape_ends_the_stream_with_an_error(
    event: Any, before: list[Any]
) -> None:
    with pytest.raises(tabbyapi.StreamError, match="boom") as caught:
        streamed(*before, event, "[DONE]")
    assert (caught.value.partial.text if caught.value.partial else "") == ("Hi" if before else "")


def test_a_stream_without_any_answer_is_interrupted_though_it_says_done() -> None:
    with pytest.raises(tabbyapi.StreamInterruptedError, match="before anything of an answer"):
        streamed({"status": "ok"}, "[DONE]")


# ---------------------------------------------------------------- nulls and near-misses


@pytest.mark.parametrize(
    "odd",
    [
        *({name: None} for name in ("id", "object", "created", "model", "usage", "timings")),
        *({"created": 1.5}, {"created": 1e3}, {"id": 7}, {"model": 3}),
        {"usage": {"prompt_tokens": 1.0, "completion_tokens": None}},
    ],
    ids=json.dumps,
)
def test_an_odd_field_that_nobody_needs_loses_no_answer(odd: dict[str, Any]) -> None:
    message = {"role": None, "content": "Hi"}
    choice = {"index": None, "message": message, "finish_reason": "stop", "logprobs": None}
    assert answered({"choices": [choice], **odd}).text == "Hi"
    first = {"choices": [{"index": None, "delta": {"role": None, "content": "Hi"}}], **odd}
    assert streamed(first, chunk({}, finish_reason="stop"), "[DONE]").text == "Hi"
    assert streamed({"choices": [{"index": 0, "delta": None}]}, first, "[DONE]").text == "Hi"


def test_token_counts_written_as_floats_are_counts() -> None:
    body = {"choices": [{"message": {"content": "Hi"}}], "usage": {"prompt_tokens": 3.0}}
    assert answered(body).usage.prompt_tokens == 3


def test_null_alternatives_lose_no_log_probabilities() -> None:
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": None}
    body = {"choices": [{"message": {"content": "Hi"}, "logprobs": {"content": [token]}}]}
    logprobs = answered(body).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].logprob == -0.5
    assert logprobs.content[0].top_logprobs == []


@pytest.mark.parametrize(
    "body",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": {"0": {}}},
    ],
    ids=json.dumps,
)
def test_an_answer_whose_message_is_missing_or_of_another_kind_is_no_answer(body: Any) -> None:
    with pytest.raises(tabbyapi.RequestError, match="not in TabbyAPI's protocol"):
        answered(body)


# ---------------------------------------------------------------- pieces of tool calls


def calls_of(*pieces: dict[str, Any]) -> list[tuple[str | None, str, str]]:
    events = [chunk({"tool_calls": [piece]}) for piece in pieces]
    calls = streamed(*events, chunk({}, finish_reason="tool_calls"), "[DONE]").tool_calls
    return [(call.id, call.function.name, call.function.arguments) for call in calls]


@pytest.mark.parametrize(
    "pieces",
    [
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"index": 0, "function": {"arguments": ": 1}"}},
        ],
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}},
        ],
        [
            {"index": 0, "id": "a", "type": None, "function": {"name": "f", "arguments": None}},
            {"index": 0, "id": None, "function": {"name": None, "arguments": '{"x": 1}'}},
        ],
        [
            {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"id": "a", "function": {"name": "f", "arguments": ": 1}"}},
        ],
        [
            {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"function": {"arguments": ": 1}"}},
        ],
        [
            {"index": 0, "function": {"name": "f"}},
            {"index": 0, "id": "a", "function": {"arguments": '{"x": 1}'}},
        ],
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    ],
    ids=["plain", "repeated", "nulls", "by id", "no index nor id", "id later", "whole"],
)
def test_pieces_of_a_tool_call_are_joined(pieces: list[dict[str, Any]]) -> None:
    assert calls_of(*pieces) == [("a", "f", '{"x": 1}')]


def test_arguments_that_come_as_an_object_become_json_text() -> None:
    [call] = calls_of({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}})
    assert json.loads(call[2]) == {"x": 1}
    plain = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}
    [whole] = answered({"choices": [{"message": plain}]}).tool_calls
    assert json.loads(whole.function.arguments) == {"x": 1}


def test_pieces_of_several_calls_may_come_interleaved() -> None:
    assert calls_of(
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "["}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}},
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "]"}},
        {"index": 1, "function": {"arguments": "}"}},
    ) == [("a", "f", "[]"), ("b", "g", "{}")]


def test_whole_calls_of_one_function_without_index_and_id_stay_apart() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    assert len(calls_of(call, call)) == 2


def test_a_response_taken_between_pieces_does_not_change_afterwards() -> None:
    events = [
        chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "["}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "]"}}]}),
        "[DONE]",
    ]
    with (
        ReplayServer(stream_of(*events)) as server,
        tabbyapi.Client(server.url) as client,
        client.chat.create_stream([user("x")]) as stream,
    ):
        next(iter(stream))
        early = stream.response
        stream.until_done()
        assert early.tool_calls[0].function.arguments == "["
        assert stream.response.tool_calls[0].function.arguments == "[]"


# ---------------------------------------------------------------- halves of characters


def raw(text: str, *, index: int = 0) -> str:
    return f'{{"choices": [{{"index": {index}, "delta": {{"content": "{text}"}}}}]}}'


def test_a_character_cut_in_two_between_chunks_is_joined() -> None:
    assert streamed(raw(r"Hi \ud83d"), raw(r"\ude00!"), "[DONE]").text == "Hi \U0001f600!"


def test_halves_of_two_choices_are_not_mixed_up() -> None:
    reply = streamed(
        *(raw(r"\ud83d"), raw(r"\ud83d", index=1), raw(r"\ude01", index=1), raw(r"\ude00")),
        "[DONE]",
    )
    assert [choice.message.content for choice in reply.choices] == ["\U0001f600", "\U0001f601"]


def test_half_a_character_alone_is_replaced() -> None:
    body = rb'{"choices": [{"message": {"content": "a\ud83d b\ude00"}}]}'
    with ReplayServer(json_reply(200, body)) as server, tabbyapi.Client(server.url) as client:
        assert client.chat.create([user("x")]).text == "a\ufffd b\ufffd"
    assert streamed(raw(r"a\ude00"), "[DONE]").text == "a\ufffd"


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize("levels", [1500, 100_000])
@pytest.mark.parametrize("opening", ['{"choices": [{"message": %s}]}', '{"unknown": %s}', "%s"])
def test_an_answer_nested_too_deeply_is_an_error_that_names_the_depth(
    levels: int, opening: str
) -> None:
    body = (opening % ("[" * levels + "]" * levels)).encode()
    for status in (200, 400):
        with (
            ReplayServer(json_reply(status, body)) as server,
            tabbyapi.Client(server.url) as client,
            pytest.raises(tabbyapi.TabbyError) as caught,
        ):
            client.chat.create([user("x")])
        if status == 200:
            assert f"{levels + opening.count('[') + opening.count('{')} levels" in str(caught.value)


def test_an_event_nested_too_deeply_is_an_error_that_names_the_depth() -> None:
    with pytest.raises(tabbyapi.StreamError, match="2000 levels"):
        streamed(chunk({"content": "Hi"}), "[" * 2000 + "]" * 2000, "[DONE]")


def test_a_request_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with tabbyapi.Client() as client, pytest.raises(tabbyapi.ValidationError, match="deep"):
        client.chat.create([user("x")], template_vars={"x": deep})


DEEP = "[" * 3000 + "]" * 3000


def test_an_answer_for_a_type_nested_too_deeply_is_an_output_error_that_names_the_depth() -> None:
    for tp in (list[Any], Any):
        with pytest.raises(tabbyapi.OutputError, match="3000 levels"):
            read(DEEP, tp)


def test_arguments_of_a_tool_nested_too_deeply_are_told_to_the_model() -> None:
    def f(x: list[Any]) -> str:
        return "done"

    call = {"id": "a", "function": {"name": "f", "arguments": f'{{"x": {DEEP}}}'}}
    replies = [
        json_reply(200, {"choices": [{"message": {"tool_calls": [call]}}]}),
        json_reply(200, {"choices": [{"message": {"content": "Sorry."}}]}),
    ]
    with ReplayServer(replies) as server, tabbyapi.Client(server.url) as client:
        run = client.chat.run([user("x")], tools=[f])
    assert "levels deep" in run.messages[1].text


def test_a_saved_conversation_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(DEEP)
    with tabbyapi.Client() as client, pytest.raises(tabbyapi.ValidationError, match="3000 levels"):
        client.load_conversation(path)


# ---------------------------------------------------------------- newer servers, and YALS


def test_what_newer_servers_tell_of_tokens_and_times_is_typed() -> None:
    usage = {
        "prompt_tokens": 9,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"accepted_prediction_tokens": 2},
    }
    timings = {"prompt_n": 1, "predicted_per_second": 50.5, "cache_n": 8}
    body = {"choices": [{"message": {"content": "Hi"}}], "usage": usage, "timings": timings}
    plain = answered(body)
    last = {**chunk({}, finish_reason="stop"), "usage": usage, "timings": timings}
    for reply in (plain, streamed(chunk({"content": "Hi"}), last, "[DONE]")):
        assert reply.usage.cached_tokens == 8
        details = reply.usage.completion_tokens_details
        assert details is not None
        assert details.accepted_prediction_tokens == 2
        assert details.rejected_prediction_tokens is None
        assert reply.timings is not None
        assert reply.timings.predicted_per_second == 50.5


def test_usage_is_there_to_be_read_even_where_the_server_sends_none() -> None:
    reply = answered({"choices": [{"message": {"content": "Hi"}}], "usage": None})
    assert (reply.usage.total_tokens, bool(reply.usage)) == (0, False)
    assert streamed(chunk({"content": "Hi"}), "[DONE]").usage.completion_tokens == 0


def test_the_answers_of_yals_are_understood() -> None:
    empty = json_reply(200, b"")
    replies = [json_reply(200, {"health": "ok"}), json_reply(200, {"health": "bad"}), *[empty] * 3]
    with ReplayServer(replies) as server, tabbyapi.Client(server.url, admin_key="a") as client:
        assert client.health.check().healthy
        assert not client.health.check().healthy
        assert client.models.load("m").complete
        with client.models.load_stream("m") as steps:
            assert [step.complete for step in steps] == [True]
        client.models.unload()
