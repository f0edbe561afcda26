"""Recorded answers of the services that do not generate: what they become."""

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
from support.captures import Capture, load
from support.replay import ReplayServer, Split, json_reply, replay
from support.talk import KEY
from support.wire import wire, without_nulls
from tabbyapi.services.embeddings import embedding_call
from tabbyapi.types.models import ServerProps

ADMIN = {"admin_key": "the-admin-key-that-must-show-nowhere"}
SPLITS = list(Split)

# Method and path of each route -> the method that calls it, with what it needs to be called.
ROUTES: dict[tuple[str, str], tuple[str, tuple[Any, ...]]] = {
    ("GET", "/v1/auth/permission"): ("auth.permission", ()),
    ("GET", "/health"): ("health.check", ()),
    ("POST", "/v1/embeddings"): ("embeddings.create", (["hello world", "bye"],)),
    ("GET", "/v1/models"): ("models.list", ()),
    ("GET", "/v1/model"): ("models.get", ()),
    ("GET", "/props"): ("models.props", ()),
    ("POST", "/v1/model/load"): ("models.load", ("plain-7b",)),
    ("POST", "/v1/model/unload"): ("models.unload", ()),
    ("GET", "/v1/model/draft/list"): ("models.list_draft", ()),
    ("GET", "/v1/model/embedding/list"): ("models.list_embedding", ()),
    ("GET", "/v1/model/embedding"): ("models.get_embedding", ()),
    ("POST", "/v1/model/embedding/load"): ("models.load_embedding", ("mini-embed",)),
    ("POST", "/v1/model/embedding/unload"): ("models.unload_embedding", ()),
    ("POST", "/v1/download"): ("models.download", ("someone/some-model",)),
    ("GET", "/v1/loras"): ("lora.list", ()),
    ("GET", "/v1/lora"): ("lora.active", ()),
    ("POST", "/v1/lora/load"): ("lora.load", ("pirate-lora",)),
    ("POST", "/v1/lora/unload"): ("lora.unload", ()),
    ("GET", "/v1/templates"): ("templates.list", ()),
    ("POST", "/v1/template/switch"): ("templates.switch", ("open-chat",)),
    ("POST", "/v1/template/unload"): ("templates.unload", ()),
    ("GET", "/v1/sampling/overrides"): ("sampling.list_overrides", ()),
    ("POST", "/v1/sampling/override/switch"): ("sampling.switch_override", ("calm",)),
    ("POST", "/v1/sampling/override/unload"): ("sampling.unload_override", ()),
    ("POST", "/v1/token/encode"): ("tokens.encode", ("Hello there",)),
    ("POST", "/v1/token/decode"): ("tokens.decode", ([1, 2],)),
}
ALIASES = {
    "/v1/model/list": "/v1/models",
    "/v1/lora/list": "/v1/loras",
    "/v1/template/list": "/v1/templates",
    "/v1/sampling/override/list": "/v1/sampling/overrides",
}
ADMIN_ROUTES = {path for method, path in ROUTES if method == "POST"} - {
    "/v1/embeddings",
    "/v1/token/encode",
    "/v1/token/decode",
}


def route_of(capture: Capture) -> tuple[str, tuple[Any, ...]] | None:
    return ROUTES.get((capture.method, ALIASES.get(capture.path, capture.path)))


CASES = [
    capture
    for capture in load().values()
    if route_of(capture) and not capture.body_left_out and not capture.end.startswith("client_")
]
GOOD = [c for c in CASES if c.status == 200 and not c.streamed]
REFUSED = [c for c in CASES if c.status != 200]


def expected(capture: Capture) -> Any:
    """What the caller gets for a good answer: the envelope is taken off what is alone in it."""
    answer = capture.json
    method = route_of(capture)[0]
    if method in ("lora.list", "lora.active", "templates.list") or method.startswith("models.list"):
        return without_nulls(answer["data"])
    if method == "sampling.list_overrides" and not answer["overrides"]:
        return without_nulls({**answer, "selected_preset": None})
    if method == "sampling.list_overrides":
        whole = {"force": False, "additive": False}
        overrides = {name: {**whole, **item} for name, item in answer["overrides"].items()}
        return without_nulls({**answer, "overrides": overrides})
    field = {
        "tokens.encode": "tokens",
        "tokens.decode": "text",
        "auth.permission": "permission",
        "models.download": "download_path",
    }.get(method)
    return without_nulls(answer if field is None else answer[field])


@pytest.mark.parametrize("capture", GOOD, ids=repr)
def test_a_good_answer_becomes_what_it_holds(call: ServiceCall, capture: Capture) -> None:
    method, args = route_of(capture)
    for how in SPLITS:
        with ReplayServer(replay(capture, how)) as server:
            result = call(server.url, method, *args, settings=ADMIN)
        if capture.name == "embed_base64":
            numbers = struct.unpack("<4f", base64.b64decode(capture.json["data"][0]["embedding"]))
            assert result.vectors == [list(numbers)]
        else:
            assert wire(result) == expected(capture)


@pytest.mark.parametrize("capture", REFUSED, ids=repr)
def test_a_refusal_is_an_error_that_says_why(call: ServiceCall, capture: Capture) -> None:
    method, args = route_of(capture)
    with (
        ReplayServer(replay(capture)) as server,
        pytest.raises(tabbyapi.APIError) as raised,
    ):
        call(server.url, method, *args, settings=ADMIN)
    error = raised.value
    assert error.status_code == capture.status
    if capture.body != b"Internal Server Error":
        detail = capture.json["detail"]
        assert (detail if isinstance(detail, str) else detail[0]["msg"]) in str(error)
    if "models are currently loaded" in str(error):
        assert type(error) is tabbyapi.ModelNotLoadedError
    if capture.status == 401 and capture.path in ADMIN_ROUTES:
        assert type(error) is tabbyapi.PermissionDeniedError


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_each_route_gets_the_key_of_its_class_and_no_other(
    call: ServiceCall, method: str, path: str
) -> None:
    name, args = ROUTES[method, path]
    with ReplayServer(json_reply(500, {})) as server, pytest.raises(tabbyapi.TabbyError):
        call(server.url, name, *args, settings={**ADMIN, "retry": 0})
    [request] = server.requests
    assert (request.method, request.target) == (method, path)
    sent = {
        name: value
        for name, value in request.headers.items()
        if name in ("x-api-key", "x-admin-key", "authorization")
    }
    listing = name.split(".")[1].startswith("list") or name == "auth.permission"
    if path == "/health":
        assert sent == {}
    elif path in ADMIN_ROUTES:
        assert sent == {"x-admin-key": ADMIN["admin_key"]}
    else:
        assert sent == {"x-api-key": ADMIN["admin_key"] if listing else KEY}
    assert ("content-type" in request.headers) == bool(request.body)


def bodies(call: ServiceCall, method: str, *args: Any, settings: Any = ADMIN, **params: Any) -> Any:
    """The JSON that a call sends; the answer is of no interest."""
    with ReplayServer(json_reply(418, {})) as server, pytest.raises(tabbyapi.APIError):
        call(server.url, method, *args, settings=settings, **params)
    return server.requests[0].json


# ---------------------------------------------------------------- health


def test_bad_health_is_an_answer(call: ServiceCall) -> None:
    issue = {"time": "2026-11-23T18:25:20.123456Z", "description": "it broke"}
    bad = {"status": "unhealthy", "issues": [issue]}
    with ReplayServer(json_reply(503, bad)) as server:
        health = call(server.url, "health.check")
    assert not health.healthy
    assert wire(health) == bad


@pytest.mark.parametrize(
    "reply",
    [
        json_reply(503, b"<html>no backend</html>", "content-type: text/html"),
        json_reply(503, {"detail": "no backend"}),
    ],
)
def test_a_503_from_something_else_is_no_health(call: ServiceCall, reply: Any) -> None:
    with ReplayServer(reply) as server, pytest.raises(tabbyapi.RequestError):
        call(server.url, "health.check")


# ---------------------------------------------------------------- models


LOADED = [c for c in CASES if c.streamed and '"model_type":"model"' in c.body.decode()]
LOADED = [c for c in LOADED if "error" not in c.events[-1]]
FAILED = [c for c in CASES if c.streamed and "error" in c.events[-1]]


@pytest.mark.parametrize("capture", LOADED, ids=repr)
def test_a_load_is_done_when_the_model_itself_is(call: ServiceCall, capture: Capture) -> None:
    for how in SPLITS:
        steps: list[tabbyapi.LoadProgress] = []
        with ReplayServer(replay(capture, how)) as server:
            last = call(
                server.url, "models.load_stream", "m", settings=ADMIN, chunks=steps, vision=True
            )
        assert [wire(step) for step in steps] == capture.events
        assert wire(last) == capture.events[-1]
        assert [step.complete for step in steps] == [False] * (len(steps) - 1) + [True]
        assert all(0 < step.fraction <= 1 for step in steps)
        assert server.requests[0].json == {"model_name": "m", "vision": True}


@pytest.mark.parametrize("capture", FAILED, ids=repr)
@pytest.mark.parametrize("method", ["models.load", "models.load_stream"])
def test_a_load_that_fails_under_status_200_is_an_error(
    call: ServiceCall, method: str, capture: Capture
) -> None:
    for how in SPLITS:
        with (
            ReplayServer(replay(capture, how)) as server,
            pytest.raises(tabbyapi.StreamError) as raised,
        ):
            call(server.url, method, "m", settings=ADMIN)
        assert capture.events[-1]["error"]["message"] in str(raised.value)
        assert "none is loaded now" in str(raised.value)
        before = capture.events[:-1]
        assert wire(raised.value.partial) == (before[-1] if before else None)


def test_a_load_that_ends_after_one_of_its_parts_is_no_success(call: ServiceCall) -> None:
    part = b'data: {"model_type":"vision","module":1,"modules":1,"status":"finished"}\r\n\r\n'
    reply = json_reply(200, part, "content-type: text/event-stream")
    with ReplayServer(reply) as server, pytest.raises(tabbyapi.StreamInterruptedError):
        call(server.url, "models.load", "m", settings=ADMIN)


def test_every_parameter_of_a_load_is_sent_and_nothing_else(call: ServiceCall) -> None:
    params = {
        "max_seq_len": -1,
        "cache_size": 8192,
        "cache_mode": "Q8",
        "chunk_size": 256,
        "output_chunking": False,
        "prompt_template": "chatml",
        "vision": False,
        "draft_model": {"draft_model_name": "small", "draft_rope_alpha": "auto"},
        "backend": "exllamav3",
        "tensor_parallel": True,
        "tensor_parallel_backend": "native",
        "gpu_split_auto": False,
        "autosplit_reserve": [96.0],
        "gpu_split": [20, 24.5],
        "rope_scale": 1.0,
        "rope_alpha": "auto",
        "skip_queue": False,
    }
    sent = bodies(call, "models.load", "m", **params, extra_body={"newer": 1}, cache_mode2=None)
    assert sent == {"model_name": "m", **params, "newer": 1}


def test_a_download_sends_the_servers_timeout_beside_its_own(call: ServiceCall) -> None:
    params = {"repo_type": "lora", "revision": "main", "include": ["*.gguf"], "token": "hf_x"}
    sent = bodies(call, "models.download", "a/b", **params, download_timeout=30, timeout=20)
    assert sent == {"repo_id": "a/b", **params, "timeout": 30}


def test_props_and_cards_tell_the_context(call: ServiceCall) -> None:
    with ReplayServer(replay(load()["props"])) as server:
        props: ServerProps = call(server.url, "models.props")
    with ReplayServer(replay(load()["model_current"])) as server:
        card: tabbyapi.ModelCard = call(server.url, "models.get")
    assert card.parameters is not None
    assert props.context_length == card.parameters.max_seq_len == 4096
    assert props.chat_template == card.parameters.prompt_template_content


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


# ---------------------------------------------------------------- refused before sending

MISTAKES: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("models.load", ("",), {}, "model_name"),
    ("models.load", (None,), {}, "model_name"),
    ("models.load", ("m",), {"cache_size": 1000}, "cache_size"),
    ("models.load", ("m",), {"max_seq_len": -2}, "max_seq_len"),
    ("models.load", ("m",), {"gpu_split": 20}, "gpu_split"),
    ("models.load", ("m",), {"draft_model": {"name": "x"}}, "name"),
    ("models.load", ("m",), {"draft_model": {}}, "draft_model"),
    ("models.load", ("m",), {"name": "x"}, "name"),
    ("models.load", ("m",), {"max_tokens": 5}, "max_tokens"),
    ("models.load_embedding", (" ",), {}, "model_name"),
    ("models.download", ("a/b/c",), {}, "repo_id"),
    ("models.download", ("a/b",), {"repo_type": "dataset"}, "repo_type"),
    ("models.download", ("a/b",), {"token": 5}, "token"),
    ("models.download", ("a/b",), {"include": "*.gguf"}, "include"),
    ("embeddings.create", ([1, 2],), {}, "input"),
    ("embeddings.create", ([],), {}, "input"),
    ("embeddings.create", ("x",), {"encoding_format": "int8"}, "encoding_format"),
    ("embeddings.create", ("x",), {"dimensions": 5}, "dimensions"),
    ("lora.load", ([],), {}, "loras"),
    ("lora.load", ({"a": "strong"},), {}, "loras[0].scaling"),
    ("lora.load", (["a", "a"],), {}, "loras[1]"),
    ("lora.load", ([{"name": "a", "scale": 1}],), {}, "loras[0]"),
    ("templates.switch", ("",), {}, "name"),
    ("tokens.encode", (5,), {}, "text"),
    ("tokens.encode", ([{"role": "wizard", "content": "x"}],), {}, "text[0].role"),
    ("tokens.encode", ("x",), {"template_vars": {}}, "template_vars"),
    ("tokens.decode", ("x",), {}, "tokens"),
    ("tokens.decode", ([1, "x"],), {}, "tokens[1]"),
    ("tokens.decode", (7,), {}, "tokens"),
    ("sampling.switch_override", (), {}, "preset"),
    ("sampling.switch_override", ("calm",), {"overrides": {}}, "overrides"),
    ("sampling.switch_override", (), {"overrides": {"temprature": 1}}, "temprature"),
    ("sampling.switch_override", (), {"overrides": {"temperature": 11}}, "temperature"),
    ("sampling.switch_override", (), {"overrides": {"model": "x"}}, "model"),
    (
        "sampling.switch_override",
        (),
        {"overrides": {"top_k": {"override": 0, "force": True}}},
        "overrides['top_k']",
    ),
    (
        "sampling.switch_override",
        (),
        {"overrides": {"top_k": {"override": 5, "additive": True}}},
        "overrides['top_k']",
    ),
    (
        "sampling.switch_override",
        (),
        {"overrides": {"top_k": {"override": 5, "forced": True}}},
        "overrides['top_k']",
    ),
]


@pytest.mark.parametrize(("method", "args", "params", "field"), MISTAKES)
def test_what_cannot_succeed_is_refused_unsent(
    call: ServiceCall, method: str, args: Any, params: Any, field: str
) -> None:
    reply = json_reply(200, None)
    with ReplayServer(reply) as server, pytest.raises(tabbyapi.ValidationError) as raised:
        call(server.url, method, *args, settings=ADMIN, **params)
    assert raised.value.field == field
    assert server.requests == []
