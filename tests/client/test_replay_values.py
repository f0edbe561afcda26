"""What the smaller services send and give back: vectors, adapters, templates, overrides, tokens."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tabbyapi
from support.both import ServiceCall
from support.captures import load
from support.replay import ReplayServer, json_reply, replay
from tabbyapi._services.embeddings import embedding_call

from .routes import ADMIN, bodies

# ---------------------------------------------------------------- embeddings


def test_vectors_come_in_the_order_of_the_texts_whatever_the_servers(call: ServiceCall) -> None:
    data = [{"index": i, "embedding": [float(i), 1.0]} for i in (2, 0, 1)]
    with ReplayServer(json_reply(200, {"data": data})) as server:
        reply = call(server.url, "embeddings.create", ["a", "b", "c"])
    assert reply.vectors == [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    array = reply.numpy()
    assert array.dtype == numpy.float32
    assert array.shape == (3, 2)
    assert array.tolist() == reply.vectors


vectors = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)


@given(vectors)
def test_base64_gives_the_numbers_that_were_encoded(numbers: list[float]) -> None:
    text = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers))
    body = b'{"data":[{"index":0,"embedding":"%b"}],"model":"m"}' % text
    assert embedding_call("x", {}).decode(body).vectors == [numbers]


@pytest.mark.parametrize("text", ["AAAA", "A", "%%%%", "AACgP A="])
def test_base64_that_is_broken_is_no_answer(call: ServiceCall, text: str) -> None:
    reply = json_reply(200, {"data": [{"index": 0, "embedding": text}]})
    with ReplayServer(reply) as server, pytest.raises(tabbyapi.RequestError):
        call(server.url, "embeddings.create", "x")


def test_the_encoding_is_sent_only_if_asked_for(call: ServiceCall) -> None:
    assert bodies(call, "embeddings.create", "x") == {"input": "x"}
    sent = bodies(call, "embeddings.create", ["x"], encoding_format="base64", model="m")
    assert sent == {"input": ["x"], "encoding_format": "base64", "model": "m"}


# ---------------------------------------------------------------- adapters, templates, overrides


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("a", [{"name": "a", "scaling": 1.0}]),
        (["a", "b"], [{"name": "a", "scaling": 1.0}, {"name": "b", "scaling": 1.0}]),
        ({"a": 0.5, "b": 0}, [{"name": "a", "scaling": 0.5}, {"name": "b", "scaling": 0}]),
        ([{"name": "a", "scaling": 2}], [{"name": "a", "scaling": 2}]),
        ([tabbyapi.types.LoraScaling("a", 0.1)], [{"name": "a", "scaling": 0.1}]),
    ],
)
def test_adapters_can_be_named_in_several_ways(call: ServiceCall, given: Any, sent: Any) -> None:
    assert bodies(call, "lora.load", given) == {"loras": sent}


def test_adapters_that_were_not_loaded_are_an_error_though_the_status_is_200(
    call: ServiceCall,
) -> None:
    some = json_reply(200, {"success": ["a"], "failure": ["b", "c"]})
    with ReplayServer(some) as server, pytest.raises(tabbyapi.InvalidRequestError) as raised:
        call(server.url, "lora.load", ["a", "b", "c"], settings=ADMIN)
    assert "not load these adapters: b, c; loaded: a" in str(raised.value)
    assert raised.value.status_code == 200
    with ReplayServer(json_reply(200, {"success": ["a"], "failure": []})) as server:
        assert call(server.url, "lora.load", "a", settings=ADMIN).success == ["a"]


def test_an_unknown_template_is_the_callers_mistake_though_the_status_is_500(
    call: ServiceCall,
) -> None:
    reply = replay(load()["template_switch_unknown"])
    with ReplayServer(reply) as server, pytest.raises(tabbyapi.InvalidRequestError) as raised:
        call(server.url, "templates.switch", "missing", settings=ADMIN)
    assert "'missing'" in str(raised.value)
    assert raised.value.status_code == 500
    assert server.requests[0].json == {"prompt_template_name": "missing"}


def test_a_preset_is_not_selected_once_nothing_is_overridden(call: ServiceCall) -> None:
    with ReplayServer(replay(load()["sampling_list_after_unload"])) as server:
        assert call(server.url, "sampling.list_overrides").selected_preset is None
    with ReplayServer(replay(load()["sampling_list_after"])) as server:
        overrides = call(server.url, "sampling.list_overrides")
    assert overrides.selected_preset == "calm"
    assert overrides.overrides["top_k"] == tabbyapi.SamplerOverride(40, force=True)


def test_overrides_are_sent_whole(call: ServiceCall) -> None:
    assert bodies(call, "sampling.switch_override", "calm") == {"preset": "calm"}
    overrides = {
        "temperature": 0.3,
        "top_k": {"override": 40, "force": True},
        "stop": tabbyapi.SamplerOverride(["END"], additive=True),
        "top_logprobs": 0,
    }
    assert bodies(call, "sampling.switch_override", overrides=overrides) == {
        "overrides": {
            "temperature": {"override": 0.3, "force": False, "additive": False},
            "top_k": {"override": 40, "force": True, "additive": False},
            "stop": {"override": ["END"], "force": False, "additive": True},
            "top_logprobs": {"override": 0, "force": False, "additive": False},
        }
    }


# ---------------------------------------------------------------- tokens


def test_tokens_of_text_and_of_messages_are_asked_for(call: ServiceCall) -> None:
    assert bodies(call, "tokens.encode", "Hi", add_bos_token=False) == {
        "text": "Hi",
        "add_bos_token": False,
    }
    messages = [tabbyapi.system("Be brief."), {"role": "user", "content": "Hi"}]
    sent = bodies(call, "tokens.count", messages, template_vars={"tools": []})
    assert sent == {
        "text": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "template_vars": {"tools": []},
    }
    assert bodies(call, "tokens.decode", iter([1, 2]), decode_special_tokens=False) == {
        "tokens": [1, 2],
        "decode_special_tokens": False,
    }
    assert bodies(call, "tokens.decode", numpy.array([1, 2])) == {"tokens": [1, 2]}


def test_tokens_are_counted(call: ServiceCall) -> None:
    with ReplayServer(replay(load()["tok_encode_string"])) as server:
        assert call(server.url, "tokens.count", "Hello there") == 3


def test_a_server_that_cannot_count_messages_is_told_how_to(call: ServiceCall) -> None:
    reply = replay(load()["tok_encode_messages"])
    refused = pytest.raises(tabbyapi.InvalidRequestError, match="api_servers")
    with ReplayServer(reply) as server, refused:
        call(server.url, "tokens.count", [tabbyapi.user("Hi")])
