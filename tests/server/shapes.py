"""Recorded requests asked of our server, and its answers compared with the recorded ones."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from support.captures import Capture

from .conftest import Raw, data_events

__all__ = ["ask", "headers_of", "same_answer", "same_shape"]

FREE = {"content", "finish_reason", "eos_reason", "stop_str", "reasoning_content", "tool_calls",
        "prompt_tokens_per_sec", "completion_tokens_per_sec", "top_logprobs", "logging",
        "prompt_template", "prompt_template_content"}  # fmt: skip

DELTA = {"content", "reasoning_content", "tool_calls"}

# What says how the bytes travelled, and the real server's openness to every origin.
OTHER_HEADERS = {"date", "content-length", "transfer-encoding", "vary"}


def ask(server: Raw, case: Capture) -> urllib3.BaseHTTPResponse:
    """Send what was sent to the real server."""
    skipped = ("content-length", "connection")
    headers = {k: v for k, v in case.headers.items() if k.lower() not in skipped}
    body = case.request_body
    if "completions" in case.path and case.status == 200 and body:
        # The recorded answers were short; ours would fill the context.
        fields = json.loads(body)
        if not any(name.startswith("max_") for name in fields):
            body = json.dumps(fields | {"max_tokens": 60}).encode()
    return server(case.method, case.path, raw=body, headers=headers)


def headers_of(headers: Any) -> dict[str, str]:
    """The headers that a client may act on."""
    kept = {name.lower(): value for name, value in headers.items()}
    return {
        name: value
        for name, value in kept.items()
        if name not in OTHER_HEADERS and not name.startswith("access-control-")
    }


def same_shape(ours: Any, theirs: Any, where: str = "") -> None:
    """Same keys everywhere; same types but where they depend on what was generated."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert ours.keys() == theirs.keys(), where
        for key, value in theirs.items():
            if key == "delta":
                assert ours[key].keys() <= DELTA
            elif key not in FREE:
                same_shape(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), where
        if ours and theirs:
            same_shape(ours[0], theirs[0], f"{where}[0]")
    else:
        assert type(ours) is type(theirs), where


def same_answer(answer: urllib3.BaseHTTPResponse, case: Capture) -> None:
    """Status, headers and shape of the body; what refuses is the same word for word."""
    assert answer.status == case.status, answer.data[:500]
    assert headers_of(answer.headers) == headers_of(case.response_headers)
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        ours, theirs = data_events(answer.data), data_events(case.body)
        assert ours[-1] == theirs[-1] == "[DONE]"
        same_shape(ours[-2], theirs[-2])
        assert all(e.keys() <= {*theirs[0], "usage"} for e in ours[:-1])
    elif kind == "application/json":
        ours, theirs = answer.json(), case.json
        if case.status >= 400:
            assert ours == theirs
        else:
            same_shape(ours, theirs)
    else:
        assert answer.data == case.body
