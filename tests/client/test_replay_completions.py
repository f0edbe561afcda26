"""Recorded completions: what the caller sends and gets, however the answer is cut on the way."""

from __future__ import annotations

from typing import Any

import pytest

from support.both import ServiceCall
from support.captures import Capture, load
from support.replay import ReplayServer, Split, json_reply, replay
from support.talk import KEY
from support.wire import wire, without_nulls
from tabbyapi import CompletionResponse, CompletionStreamResponse, StreamError, ValidationError

COMPLETIONS = [
    capture
    for capture in load().values()
    if (capture.method, capture.path) == ("POST", "/v1/completions")
]
ANSWERED = [c for c in COMPLETIONS if c.status == 200 and not c.streamed]
DONE = [c for c in COMPLETIONS if c.streamed and c.done]
BROKEN = [c for c in COMPLETIONS if c.streamed and not c.done and c.end == "complete"]
REFUSED = {"compl_prompt_tokens"}  # token ids, which the server does not take
SENDABLE = [c for c in COMPLETIONS if c.name not in REFUSED]
SPLITS = list(Split)


def params_of(capture: Capture) -> tuple[str, Any, dict[str, Any]]:
    fields = dict(capture.request_json)
    method = "create_stream" if fields.pop("stream", False) else "create"
    return f"completions.{method}", fields.pop("prompt"), fields


def assembled(events: list[Any]) -> Any:
    """What the chunks of a stream add up to, as JSON without nulls."""
    chunks = [event for event in events if "error" not in event]
    if not chunks:
        return None
    choices: dict[int, dict[str, Any]] = {}
    for part in (choice for chunk in chunks for choice in chunk["choices"]):
        choice = choices.setdefault(part["index"], {"index": part["index"], "text": ""})
        if part.get("logprobs"):
            joined = choice.setdefault("logprobs", {name: [] for name in part["logprobs"]})
            for name, values in part["logprobs"].items():
                start = len(choice["text"]) if name == "text_offset" else None
                joined[name] += values if start is None else [start + value for value in values]
        choice["text"] += part["text"]
        for name in ("finish_reason", "eos_reason"):
            if part.get(name):
                choice[name] = part[name]
    usage = [chunk["usage"] for chunk in chunks if "usage" in chunk]
    response = {
        "id": chunks[0]["id"],
        "object": "text_completion",
        "created": chunks[0]["created"],
        "model": chunks[-1]["model_name"],
        "choices": [choices[index] for index in sorted(choices)],
    }
    return {**response, "usage": usage[-1]} if usage else response


@pytest.mark.parametrize("capture", ANSWERED, ids=repr)
def test_an_answer_arrives_with_every_field(call: ServiceCall, capture: Capture) -> None:
    for how in SPLITS:
        with ReplayServer(replay(capture, how)) as server:
            reply = call(server.url, "completions.create", "Once upon")
        assert type(reply) is CompletionResponse
        assert wire(reply) == without_nulls(capture.json)
        assert reply.text == capture.json["choices"][0]["text"]
        assert reply.texts == [choice["text"] for choice in capture.json["choices"]]


@pytest.mark.parametrize("capture", DONE, ids=repr)
def test_a_stream_arrives_chunk_by_chunk_and_whole(call: ServiceCall, capture: Capture) -> None:
    for how in SPLITS:
        chunks: list[CompletionStreamResponse] = []
        with ReplayServer(replay(capture, how)) as server:
            reply = call(server.url, "completions.create_stream", "Once upon", chunks=chunks)
        assert [wire(chunk) for chunk in chunks] == without_nulls(capture.events)
        assert {chunk.model for chunk in chunks} == {capture.events[0]["model_name"]}
        assert type(reply) is CompletionResponse
        assert wire(reply) == without_nulls(assembled(capture.events))


@pytest.mark.parametrize("capture", BROKEN, ids=repr)
def test_a_broken_stream_raises_with_what_had_arrived(call: ServiceCall, capture: Capture) -> None:
    for how in SPLITS:
        with ReplayServer(replay(capture, how)) as server, pytest.raises(StreamError) as raised:
            call(server.url, "completions.create_stream", "Once upon")
        assert wire(raised.value.partial) == assembled(capture.events)
        assert capture.events[-1]["error"]["message"] in str(raised.value)


@pytest.mark.parametrize("capture", SENDABLE, ids=repr)
def test_what_was_given_is_sent_and_nothing_else(call: ServiceCall, capture: Capture) -> None:
    method, prompt, params = params_of(capture)
    with ReplayServer(replay(DONE[0] if "stream" in method else ANSWERED[0])) as server:
        call(server.url, method, prompt, **params)
    [request] = server.requests
    expected = {
        **capture.request_json,
        "stream_options": {"include_usage": True, **params.get("stream_options", {})},
    }
    if "stream" in method:
        expected.setdefault("max_tokens", 0)  # without it the server fails
    assert request.json == expected
    assert request.headers["x-api-key"] == KEY


def test_a_stream_of_several_texts_is_not_cut_short(call: ServiceCall) -> None:
    # The server takes 0 as "no limit" for the first text only, and counts the others from it.
    with ReplayServer(replay(DONE[0])) as server:
        call(server.url, "completions.create_stream", ["a", "b"])
        call(server.url, "completions.create_stream", "a", n=2, max_tokens=0)
        call(server.url, "completions.create_stream", ["a", "b"], max_tokens=7)
    posted = [request for request in server.requests if request.method == "POST"]
    limits = [request.json["max_tokens"] for request in posted]
    assert limits[0] == limits[1] > 100_000
    assert limits[2] == 7


def test_several_prompts_give_a_text_each_in_order(call: ServiceCall) -> None:
    choices = [{"index": i, "text": text} for i, text in enumerate("abcd")]
    with ReplayServer(json_reply(200, {"choices": choices})) as server:
        reply = call(server.url, "completions.create", ("one", "two"), n=2)
    assert server.requests[0].json["prompt"] == ["one", "two"]
    assert reply.texts == ["a", "b", "c", "d"]


def test_a_server_that_does_not_stream_gives_one_chunk(call: ServiceCall) -> None:
    capture = load()["nostream_completion"]
    chunks: list[CompletionStreamResponse] = []
    with ReplayServer(replay(capture)) as server:
        reply = call(server.url, "completions.create_stream", "x", chunks=chunks)
    [chunk] = chunks
    assert chunk.text == reply.text == capture.json["choices"][0]["text"]
    assert wire(reply) == without_nulls(capture.json)


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        ([1, 2, 3], "prompt"),
        ([], "prompt"),
        (5, "prompt"),
        (b"x", "prompt"),
        ({"a": 1}, "prompt"),
        (["a", None], "prompt[1]"),
        (["a", True], "prompt[1]"),
    ],
)
def test_a_prompt_that_is_no_text_is_refused_unsent(
    call: ServiceCall, prompt: Any, field: str
) -> None:
    with ReplayServer(replay(ANSWERED[0])) as server:
        for method in ("create", "create_stream"):
            with pytest.raises(ValidationError) as raised:
                call(server.url, f"completions.{method}", prompt)
            assert raised.value.field == field
    assert server.requests == []
