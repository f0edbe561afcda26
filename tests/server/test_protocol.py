"""Keys, error bodies, framing and limits: the protocol around the answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tabbyapi.errors import ConnectError
from tabbyapi.local_server import LocalServer

from .conftest import ADMIN, API, CHAT, HELLO, Raw

PERMISSION = "/v1/auth/permission"
INVALID = {"detail": "Invalid API key"}
CONTRADICTORY = {"detail": "The provided authentication key is invalid."}


def without_error(body: dict[str, Any]) -> dict[str, Any]:
    """What TabbyAPI has of a body: this server adds an `error` to refusals."""
    return {name: value for name, value in body.items() if name != "error"}


@pytest.mark.parametrize(
    ("headers", "status", "answer"),
    [
        ({}, 401, {"detail": "Please provide an API key"}),
        ({"X-Api-Key": API}, 200, {"permission": "api"}),
        ({"X-Api-Key": ADMIN}, 200, {"permission": "admin"}),
        ({"Authorization": f"bearer {API}"}, 200, {"permission": "api"}),
        ({"Authorization": f"Bearer {ADMIN}"}, 200, {"permission": "admin"}),
        ({"Authorization": f"Basic {API}"}, 401, INVALID),
        ({"Authorization": API}, 401, INVALID),
        ({"Authorization": "Bearer"}, 401, INVALID),
        ({"X-Api-Key": "wrong"}, 401, INVALID),
        ({"X-Api-Key": "wrong", "Authorization": f"Bearer {API}"}, 401, INVALID),
        ({"X-Admin-Key": ADMIN}, 401, {"detail": "Please provide an API key"}),
        ({"X-Admin-Key": ADMIN, "X-Api-Key": API}, 200, {"permission": "admin"}),
        ({"X-Admin-Key": "wrong", "X-Api-Key": API}, 400, CONTRADICTORY),
        ({"X-Api-Key": "", "Authorization": f"Bearer {API}"}, 400, CONTRADICTORY),
    ],
)  # fmt: skip
def test_keys_are_judged_as_the_protocol_says(
    http: Raw, headers: dict[str, str], status: int, answer: object
) -> None:
    got = http("GET", PERMISSION, headers=headers)
    assert (got.status, without_error(got.json())) == (status, answer)


def test_an_admin_sees_the_folder_and_others_the_loaded_model(
    http: Raw, random_model: Path
) -> None:
    (random_model.parent / "other.gguf").touch()
    for path in ("/v1/models", "/v1/model/list"):
        seen = {
            key: [
                card["id"] for card in http("GET", path, headers={"X-Api-Key": key}).json()["data"]
            ]
            for key in (API, ADMIN)
        }
        assert seen == {API: ["random-tiny"], ADMIN: ["other", "random-tiny"]}
    contradictory = http("GET", "/v1/models", headers={"X-Admin-Key": "no", "X-Api-Key": API})
    assert (contradictory.status, contradictory.data) == (500, b"Internal Server Error")


def test_the_model_card_and_the_props_tell_context_and_template(http: Raw) -> None:
    card = http("GET", "/v1/model").json()
    assert card["id"] == "random-tiny"
    assert card["parameters"]["max_seq_len"] == 8192
    assert card["parameters"]["prompt_template"]
    props = http("GET", "/props").json()
    assert props["default_generation_settings"] == {"n_ctx": 8192}
    assert props["chat_template"] == card["parameters"]["prompt_template_content"]


def test_open_routes_need_no_key(http: Raw) -> None:
    health = http("GET", "/health", headers={})
    assert (health.status, health.json()) == (200, {"status": "healthy", "issues": []})
    assert http("GET", "/.well-known/serviceinfo", headers={}).json()["version"] == 0.1


def test_wrong_paths_and_methods_get_json(http: Raw) -> None:
    unknown = http("GET", "/nothing")
    assert (unknown.status, without_error(unknown.json())) == (404, {"detail": "Not Found"})
    wrong = http("GET", CHAT)
    assert (wrong.status, without_error(wrong.json())) == (405, {"detail": "Method Not Allowed"})
    assert wrong.headers["allow"] == "POST"
    assert http("HEAD", "/v1/models").status == 405
    slash = http("POST", CHAT + "/", {})
    assert slash.status == 307
    assert slash.headers["location"] == http.server.url + CHAT


@pytest.mark.parametrize(
    ("raw", "headers", "status", "kind", "loc"),
    [
        (b'{"messages": [', {"X-Api-Key": API}, 422, "json_invalid", ["body", 14]),
        (b'{"messages": [', {}, 422, "json_invalid", ["body", 14]),
        (b"", {"X-Api-Key": API}, 422, "missing", ["body"]),
        (b"null", {"X-Api-Key": API}, 422, "missing", ["body"]),
        (b"[1]", {"X-Api-Key": API}, 422, "model_attributes_type", ["body"]),
        (b"{}", {"X-Api-Key": API}, 422, "missing", ["body", "messages"]),
    ],
)
def test_a_body_that_is_no_request_is_located(
    http: Raw, raw: bytes, headers: dict[str, str], status: int, kind: str, loc: list[object]
) -> None:
    got = http("POST", CHAT, raw=raw, headers={"Content-Type": "application/json"} | headers)
    (error,) = got.json()["detail"]
    assert (got.status, error["type"], error["loc"]) == (status, kind, loc)


def test_the_key_is_checked_before_the_fields(http: Raw) -> None:
    got = http("POST", CHAT, {"messages": 5}, headers={"Content-Type": "application/json"})
    assert got.status == 401


def test_a_body_without_its_content_type_is_a_string(http: Raw) -> None:
    got = http("POST", CHAT, raw=b'{"messages": []}', headers={"X-Api-Key": API})
    (error,) = got.json()["detail"]
    assert (error["type"], error["input"]) == ("model_attributes_type", '{"messages": []}')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"messages": [{"content": "\\ud800"}]}',
        b'{"messages": [{"content": "\xff"}]}',
        b'{"messages": [{"content": "\xed\xa0\x80"}]}',  # half a character, as it is
        '{"messages": [{"content": "x"}]}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"json_schema": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"max_tokens": ' + b"9" * 5000 + b"}",
    ],
)
def test_hostile_bodies_get_a_plain_400(http: Raw, raw: bytes) -> None:
    headers = {"X-Api-Key": API, "Content-Type": "application/json"}
    got = http("POST", CHAT, raw=raw, headers=headers)
    assert got.status == 400
    assert isinstance(got.json()["detail"], str)


def test_a_prompt_that_does_not_fit_is_an_openai_error_streamed_or_not(http: Raw) -> None:
    long = [{"role": "user", "content": "x" * 9000}]
    for stream in (False, True):
        got = http("POST", CHAT, {"messages": long, "stream": stream})
        assert got.status == 400
        error = got.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert re.search(r"Prompt length 90\d\d exceeds .* 8192 tokens", error["message"])


def test_streams_are_framed_as_the_protocol_says(http: Raw) -> None:
    got = http("POST", CHAT, {"messages": HELLO, "stream": True, "max_tokens": 3})
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["cache-control"] == "no-store"
    assert got.data.endswith(b"data: [DONE]\r\n\r\n")
    for event in got.data.split(b"\r\n\r\n")[:-2]:
        payload = event.removeprefix(b"data: ")
        assert payload == json.dumps(json.loads(payload), ensure_ascii=False).encode()


def test_without_auth_everyone_is_admin_and_streaming_can_be_off(random_model: Path) -> None:
    with LocalServer(random_model, auth=False, streaming=False, threads=1) as server:
        import urllib3

        with urllib3.PoolManager() as pool:
            raw = Raw(server, pool)
            assert raw("GET", PERMISSION, headers={}).json() == {"permission": "admin"}
            json_type = {"Content-Type": "application/json"}
            body = {"messages": HELLO, "stream": True, "max_tokens": 2}
            got = raw("POST", CHAT, body, headers=json_type)
            assert got.json()["object"] == "chat.completion"


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    with pytest.raises(ConnectError, match=r"bad\.gguf is not a GGUF model file"):
        LocalServer(bad).start()
    with pytest.raises(ConnectError, match="There is no model file"):
        LocalServer(tmp_path / "missing.gguf").start()


def test_a_broken_model_is_refused_with_the_engines_reason(
    tmp_path: Path, random_model: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(random_model.read_bytes()[:200_000])
    with pytest.raises(ConnectError, match="could not be loaded"):
        LocalServer(cut, threads=1).start()
