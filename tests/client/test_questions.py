"""What is asked of the server first: whether the model sees images, and how long its context is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi
from support.both import ServiceCall
from tabbyapi import assistant, user

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ASKED = [user([{"type": "text", "text": "What is this?"}, IMAGE])]
ANSWER = json_reply(200, {"model": "m", "choices": [{"message": {"content": "A cat."}}]})


def card(**parameters: Any) -> Reply:
    return json_reply(200, {"id": "m", "parameters": parameters})


def test_images_for_a_model_without_vision_are_refused_unsent(call: ServiceCall) -> None:
    with (
        ReplayServer([card(use_vision=False), ANSWER]) as server,
        pytest.raises(tabbyapi.ValidationError, match="cannot see images") as caught,
    ):
        call(server.url, "chat.create", ASKED)
    assert caught.value.field == "messages"
    assert [request.target for request in server.requests] == ["/v1/model"]


@pytest.mark.parametrize(
    "first",
    [card(use_vision=True), card(), json_reply(503, {"detail": "none"}), json_reply(200, {})],
    ids=["sees", "does not tell", "no model", "no card"],
)
def test_images_are_sent_where_the_model_may_see_them(call: ServiceCall, first: Reply) -> None:
    with ReplayServer([first, ANSWER]) as server:
        assert call(server.url, "chat.create", ASKED).text == "A cat."
    assert len(server.requests) == 2


def test_images_are_sent_without_a_question_when_told_so(call: ServiceCall) -> None:
    with ReplayServer(ANSWER) as server:
        call(server.url, "chat.create", ASKED, check_vision=False)
    assert "check_vision" not in server.requests[0].json
    assert len(server.requests) == 1


def test_a_model_loaded_by_the_request_is_not_judged_by_the_one_before(call: ServiceCall) -> None:
    with ReplayServer([card(use_vision=False), ANSWER]) as server:
        assert call(server.url, "chat.create", ASKED, model="sees").text == "A cat."


def test_the_model_is_asked_once_and_again_after_a_load() -> None:
    empty = json_reply(200, b"")
    replies = [card(use_vision=True), ANSWER, ANSWER, empty, card(use_vision=False)]
    with ReplayServer(replies) as server, tabbyapi.Client(server.url, admin_key="a") as client:
        client.chat.create(ASKED)
        client.chat.create([*ASKED, assistant("A cat."), user("Sure?")])
        client.models.unload()
        with pytest.raises(tabbyapi.ValidationError, match="cannot see images"):
            client.chat.create(ASKED)
        assert [request.target for request in server.requests].count("/v1/model") == 2


def test_text_alone_asks_nothing(call: ServiceCall) -> None:
    with ReplayServer(ANSWER) as server:
        call(server.url, "chat.create", [user("Hello"), user(["two", "parts"])])
    assert len(server.requests) == 1


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
EVENTS = b'data: {"choices": [{"index": 0, "text": "x"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
STREAM = Reply([HEAD, EVENTS], "close")


@pytest.mark.parametrize(
    ("prompt", "params", "first", "expected"),
    [
        ("Once", {"n": 3}, card(max_seq_len=1000), 1000 - 4 - 15 - 8),
        (["a" * 100, "b"], {}, card(max_seq_len=1000), 1000 - 100 - 10 - 8),
        ("a" * 990, {"n": 2}, card(max_seq_len=1000), 250),
        ("Once", {"n": 2}, json_reply(404, {"detail": "Not Found"}), 1_000_000),
    ],
)
def test_several_streamed_texts_without_a_limit_are_given_what_the_context_holds(
    prompt: Any, params: dict[str, Any], first: Reply, expected: int
) -> None:
    with ReplayServer([first, STREAM]) as server, tabbyapi.Client(server.url) as client:
        with client.completions.create_stream(prompt, **params) as stream:
            stream.until_done()
        assert server.requests[1].json["max_tokens"] == expected


@pytest.mark.parametrize("params", [{}, {"max_tokens": 5, "n": 2}])
def test_one_text_or_a_limit_given_asks_nothing(params: dict[str, Any]) -> None:
    with ReplayServer(STREAM) as server, tabbyapi.Client(server.url) as client:
        with client.completions.create_stream("Once", **params) as stream:
            stream.until_done()
        assert server.requests[0].json["max_tokens"] == params.get("max_tokens", 0)
