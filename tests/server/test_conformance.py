"""The recorded cases of the real server, asked of ours: same status, same shapes, same refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.captures import Capture, load
from tabbyapi.local_server import LocalServer
from tabbyapi.server.app import build_app
from tabbyapi.server.auth import Keys
from tabbyapi.server.settings import Settings

from .conftest import ADMIN, API, Raw
from .shapes import ask, same_answer

SERVED = {
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/auth/permission"),
    ("GET", "/v1/models"),
    ("GET", "/v1/model/list"),
    ("GET", "/v1/model"),
    ("GET", "/props"),
    ("GET", "/health"),
    ("GET", "/.well-known/serviceinfo"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/token/encode"),
    ("POST", "/v1/token/decode"),
}

PATHS = {getattr(route, "path", "") for route in build_app(Settings(), Keys()).routes}

# Cases about paths and methods that are served to nobody.
ROUTING = {"http_404_root", "http_405", "http_405_delete", "http_redirect_slash"}

# Cases about another model or vocabulary, no model at all, or a scripted fault of the engine.
OTHER_STATE = (
    "nomodel_", "notemplate_", "ctx_", "chat_ctx_", "chat_error_", "chat_n_error_", "vision_",
    "chat_during_", "chat_stream_during_", "chat_while_", "chat_no_template", "model_after_",
    "model_with_draft", "props_no_template", "harmony_", "unload_", "shutdown_", "chat_disconnect_",
    "compl_error_", "chat_template_error", "tok_decode", "tok_encode_messages_no_template",
)  # fmt: skip

# Where ours answers properly and the real server does not.
BETTER = {
    "chat_logprobs_null": 200,
    "chat_rf_null": 200,
    "chat_template_vars_null": 200,
    "chat_part_text_null": 200,
    "compl_stream_no_max_tokens": 200,
    "val_n_null": 200,
    "val_n_null_stream": 200,
    "val_stop_null": 200,
    "val_penalty_range_null": 200,
    "tok_encode_messages": 200,
    "tok_encode_messages_vars": 200,
    "val_min_over_max_tokens": 400,
    "val_min_over_max_temp": 400,
    "chat_regex_invalid": 400,  # a constraint is never lost in silence
}


def applies(case: Capture) -> bool:
    return (
        case.profile == "main"
        and (
            (case.method, case.path) in SERVED
            or case.name in ROUTING
            # Refusals of key and body are the same in any state.
            or (case.status in (401, 422) and case.path in PATHS)
        )
        and not case.name.startswith(OTHER_STATE)
        and case.status is not None
    )


CASES = [case for case in load().values() if applies(case)]


@pytest.fixture(scope="module")
def twin(random_model: Path) -> Iterator[Raw]:
    """Our server, set up like the recorded one, with its template."""
    card = json.loads(load()["model_current"].body)
    template = card["parameters"]["prompt_template_content"]
    settings: dict[str, Any] = {"api_keys": (API,), "admin_key": ADMIN, "chat_template": template}
    settings |= {"tool_format": "none", "parity": True, "n_ctx": 1024, "threads": 1}
    server = LocalServer(random_model, **settings)
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_as_the_real_server_did(twin: Raw, case: Capture) -> None:
    answer = ask(twin, case)
    expected = BETTER.get(case.name, case.status)
    assert answer.status == expected, answer.data[:500]
    if case.name not in BETTER:
        same_answer(answer, case)


def test_enough_cases_are_replayed() -> None:
    assert len(CASES) > 80
