"""Answers have TabbyAPI's fields, and by default those that OpenAI's clients need too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import urllib3

from tabbyapi.local_server import LocalServer

from .conftest import ADMIN, API, CHAT, HELLO, Raw, data_events, text_of

BABBLE = {"temperature": 0, "loop_detect_window": 0, "max_tokens": 8}
BARE_TOOL = {"type": "function", "function": {"name": "look"}}


@pytest.fixture(scope="module")
def parity(random_model: Path) -> Iterator[Raw]:
    server = LocalServer(random_model, api_keys=(API,), admin_key=ADMIN, threads=1, parity=True)
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


@pytest.fixture
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=API, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("extra", [{}, {"logprobs": 1}, {"n": 2}, {"max_tokens": 1}])
def test_the_first_delta_of_each_choice_has_a_role(http: Raw, extra: dict[str, Any]) -> None:
    choices = [e["choices"][0] for e in http.events(**BABBLE | extra) if e != "[DONE]"]
    for index in range(extra.get("n", 1)):
        first, *rest = [c["delta"] for c in choices if c["index"] == index]
        assert first["role"] == "assistant"
        assert not any("role" in delta for delta in rest)


def test_usage_is_always_told(http: Raw) -> None:
    *chunks, last, _ = http.events(**BABBLE)
    assert last["usage"]["completion_tokens"] == 8
    assert last["choices"][0]["eos_reason"] == "max_new_tokens"
    assert not any("usage" in chunk for chunk in chunks)
    assert http.chat()["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0
    body = {"prompt": "x", "stream": True} | BABBLE
    *_, last, _ = data_events(http("POST", "/v1/completions", body).data)
    assert last["usage"]["completion_tokens"] == 8


def test_refusals_have_an_error_beside_the_detail(http: Raw) -> None:
    unknown = http("GET", "/nothing").json()
    assert unknown["detail"] == "Not Found"
    assert unknown["error"]["message"] == "Not Found"
    keyless = http("GET", "/v1/models", headers={}).json()
    assert keyless["error"] == {
        "message": keyless["detail"],
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }
    wrong = http("POST", CHAT, {"messages": HELLO, "top_p": 2}).json()
    assert wrong["error"]["param"] == "top_p"
    assert "less than or equal to 1" in wrong["error"]["message"]
    assert wrong["detail"][0]["loc"] == ["body", "top_p"]


def test_openai_clients_are_told_what_was_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="min_tokens"):
        client.chat.completions.create(
            model="any",
            messages=HELLO,
            max_tokens=1,
            extra_body={"min_tokens": 2},  # type: ignore[arg-type]
        )
    assert client.models.retrieve("random-tiny").id == "random-tiny"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.models.retrieve("other")


def test_tools_need_neither_description_nor_parameters(http: Raw) -> None:
    assert http.chat(tools=[BARE_TOOL])
    nulls = {"name": "look", "description": None, "parameters": None}
    assert http.chat(tools=[{"type": "function", "function": nulls}])


def test_prompts_and_embedding_inputs_may_be_token_ids(http: Raw) -> None:
    ids = http("POST", "/v1/token/encode", {"text": "Once"}).json()["tokens"]
    answers = [
        http("POST", "/v1/completions", {"prompt": prompt} | BABBLE).json()["choices"]
        for prompt in ("Once", ids, [ids, ids])
    ]
    assert answers[0][0]["text"] == answers[1][0]["text"]
    assert len(answers[2]) == 2


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_routes_of_other_servers_are_answered_with_what_to_use_instead(
    http: Raw, path: str
) -> None:
    answer = http("POST", path, {})
    assert answer.status == 404
    assert answer.json()["detail"] == "Not Found"
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_parity_adds_nothing(parity: Raw) -> None:
    assert parity.chat(**BABBLE)["usage"] is None
    events = parity.events(**BABBLE)[:-1]
    assert not any("role" in event["choices"][0]["delta"] or "usage" in event for event in events)
    used = parity.chat(stream_options={"include_usage": True})["usage"]
    assert "prompt_tokens_details" not in used
    for answer in (
        parity("GET", "/nothing"),
        parity("GET", "/v1/models/random-tiny"),
        parity("GET", "/v1/models", headers={}),
        parity("POST", CHAT, {"messages": HELLO, "tools": [BARE_TOOL]}),
        parity("POST", "/v1/completions", {"prompt": [1, 2]}),
    ):
        assert answer.status in (401, 404, 422)
        assert answer.json().keys() == {"detail"}


def test_parity_ignores_what_tabbyapi_ignores(parity: Raw, http: Raw) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
    plain = parity.chat(**BABBLE)["choices"][0]["message"]
    for fields in (
        {"tools": [tool], "tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
    ):
        answer = parity.chat(**BABBLE, **fields)["choices"][0]["message"]
        assert answer["content"] == plain["content"]
    events = http.events(**BABBLE, response_format={"type": "json_object"})
    assert text_of(events).startswith("{")
