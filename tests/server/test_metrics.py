"""What `--metrics` measures, and draft models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

import tabbyapi
from support.tiny_model import write_random
from tabbyapi import LocalServer, user

HELLO = [user("Say hello.")]


@pytest.fixture(scope="module")
def measured(random_model: Path) -> Iterator[LocalServer]:
    with LocalServer(random_model, metrics=True, n_ctx=2048, slots=1, threads=1) as server:
        yield server


def scraped(server: LocalServer) -> dict[str, float]:
    """The samples, as Prometheus asks for them."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    answer = urllib3.request("GET", server.url + "/metrics", headers=headers)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = re.findall(r"^(tabbyapi_\w+) (\S+)$", answer.data.decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_metrics_count_tokens_and_time_the_first_one(measured: LocalServer) -> None:
    before = scraped(measured)
    with measured.client() as client:
        usage = client.chat.create(HELLO, max_tokens=7).usage
    after = scraped(measured)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["tabbyapi_generated_tokens_total"] == 7
    read = grown["tabbyapi_prompt_tokens_total"] + grown["tabbyapi_cached_prompt_tokens_total"]
    assert read == usage.prompt_tokens
    assert grown["tabbyapi_time_to_first_token_seconds_count"] == 1
    assert 0 < grown["tabbyapi_time_to_first_token_seconds_sum"] < 30
    assert after["tabbyapi_context_size_tokens"] == 2048


def test_metrics_tell_what_runs_waits_and_fills_the_context(measured: LocalServer) -> None:
    with measured.client() as client:
        with client.chat.create_stream(
            HELLO, max_tokens=100_000, loop_detect_window=0, n=2
        ) as stream:
            next(iter(stream))
            now = scraped(measured)
        assert now["tabbyapi_answers_running"] == 1
        assert now["tabbyapi_answers_waiting"] == 1
        assert 0 < now["tabbyapi_context_used_tokens"] <= 2048
        client.chat.create(HELLO, max_tokens=1)  # waits until those that were left have ended
    idle = scraped(measured)
    assert idle["tabbyapi_answers_running"] == idle["tabbyapi_answers_waiting"] == 0
    assert idle["tabbyapi_context_used_tokens"] == 0


def test_metrics_need_a_key_and_are_off_unless_asked_for(
    measured: LocalServer, server: LocalServer
) -> None:
    assert urllib3.request("GET", measured.url + "/metrics").status == 401
    key = {"Authorization": f"Bearer {server.api_key}"}
    assert urllib3.request("GET", server.url + "/metrics", headers=key).status == 404


def test_a_draft_model_proposes_tokens_and_changes_no_answer(tmp_path: Path) -> None:
    model = write_random(tmp_path / "large.gguf", seed=1)
    draft = write_random(tmp_path / "small.gguf", seed=2)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    greedy = {"max_tokens": 60, "temperature": 0.0, "loop_detect_window": 0}
    with LocalServer(model, draft_model=draft, n_ctx=1024) as server, server.client() as client:

        def used() -> str | None:
            parameters = client.models.get().parameters
            assert parameters is not None
            return parameters.draft["id"] if parameters.draft else None

        assert used() == "small"
        assert {card.id for card in client.models.list_draft()} >= {"large", "small"}
        with_draft = client.chat.create(HELLO, **greedy).text
        client.models.unload()
        with client.models.load_stream(
            "large", draft_model={"draft_model_name": "small"}
        ) as stream:
            steps = list(stream)
        assert {step.model_type for step in steps} == {"draft", "model"}
        assert steps[-1].model_type == "model"
        assert used() == "small"
        assert client.chat.create(HELLO, **greedy).text == with_draft
        with pytest.raises(tabbyapi.InvalidRequestError, match="draft model"):
            client.models.load("large", draft_model={"draft_model_name": "none"})
        with pytest.raises(tabbyapi.StreamError, match="broken"):
            client.models.unload()
            client.models.load("large", draft_model={"draft_model_name": "broken"})
    with LocalServer(model, n_ctx=1024) as server, server.client() as client:
        assert client.chat.create(HELLO, **greedy).text == with_draft
