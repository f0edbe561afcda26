"""Recorded answers of the services that do not generate: what they become."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

import tabbyapi
from support.both import ServiceCall
from support.captures import Capture
from support.replay import ReplayServer, json_reply, replay
from support.talk import KEY
from support.wire import wire, without_nulls

from .routes import ADMIN, ADMIN_ROUTES, CASES, ROUTES, SPLITS, route_of

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
    if method == "embeddings.create":
        args = (["text"] * len(capture.json["data"]),)
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


# ---------------------------------------------------------------- health


def test_bad_health_is_an_answer(call: ServiceCall) -> None:
    issue = {"time": "2026-11-23T18:25:20.123456Z", "description": "it broke"}
    bad = {"status": "unhealthy", "issues": [issue]}
    with ReplayServer(json_reply(503, bad)) as server:
        health = call(server.url, "health.check")
    assert not health.healthy
    assert wire(health) == bad


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (json_reply(503, b"<html>no backend</html>", "content-type: text/html"), "RequestError"),
        (json_reply(503, {"detail": "no backend"}), "ServerError"),
    ],
)
def test_a_503_from_something_else_is_no_health(call: ServiceCall, reply: Any, error: str) -> None:
    with ReplayServer(reply) as server, pytest.raises(getattr(tabbyapi, error)):
        call(server.url, "health.check")


# ---------------------------------------------------------------- refused before sending

MISTAKES: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("models.load", ("",), {}, "model_name"),
    ("models.load", (None,), {}, "model_name"),
    ("models.load", ("m",), {"cache_size": 1000}, "cache_size"),
    ("models.load", ("m",), {"max_seq_len": -2}, "max_seq_len"),
    ("models.load", ("m",), {"gpu_split": 20}, "gpu_split"),
    ("models.load", ("m",), {"draft_model": {"name": "x"}}, "draft_model.name"),
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
    ("tokens.encode", ([{"role": "", "content": "x"}],), {}, "text[0].role"),
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
