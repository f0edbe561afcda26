"""Loading, downloading and describing models, as recorded of a real server."""

from __future__ import annotations

import pytest

import tabbyapi
from support.both import ServiceCall
from support.captures import Capture, load
from support.replay import ReplayServer, json_reply, replay
from support.wire import wire
from tabbyapi.types.models import ServerProps

from .routes import ADMIN, CASES, SPLITS, bodies

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
