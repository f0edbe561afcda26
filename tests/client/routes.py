"""The routes of the services beside chat, the recorded cases of each, and what a call sends."""

from __future__ import annotations

from typing import Any

import pytest

import tabbyapi
from support.both import ServiceCall
from support.captures import Capture, load
from support.replay import ReplayServer, Split, json_reply

__all__ = ["ADMIN", "ADMIN_ROUTES", "CASES", "ROUTES", "SPLITS", "bodies", "route_of"]

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


def bodies(call: ServiceCall, method: str, *args: Any, settings: Any = ADMIN, **params: Any) -> Any:
    """The JSON that a call sends; the answer is of no interest."""
    with ReplayServer(json_reply(418, {})) as server, pytest.raises(tabbyapi.APIError):
        call(server.url, method, *args, settings=settings, **params)
    return server.requests[0].json
