"""The recorded cases of models, embeddings, templates, overrides and LoRA, and of other set-ups.

What these routes answer depends on what was done before. So each scene below is a list of
recorded requests in the order in which they make sense, with the steps between them that no
recording has; the folders of our servers hold what those of the real one held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.captures import Capture, load
from support.tiny_lora import write_lora
from support.tiny_projector import write_projector
from tabbyapi.local_server import LocalServer

from .conftest import ADMIN, API, CHAT, HELLO, Raw, data_events
from .shapes import ask, headers_of, same_answer, same_shape
from .test_conformance import CASES

BOSS = {"X-Admin-Key": ADMIN, "Content-Type": "application/json"}

PLAIN, VISION, NO_TEMPLATE = "plain-7b-exl3", "vision-4b-exl3", "notemplate-1b-exl3"
MODELS = [card["id"] for card in load()["models_admin_key"].json["data"]]
BROKEN = {
    "no-config-model": b"no model at all",
    "legacy-exl2": b"GGUF\x01\x00\x00\x00",  # of a format that is no longer read
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, random_model: Path) -> dict[str, Path]:
    """What the folders of the real server held, by the names of our settings."""
    root = tmp_path_factory.mktemp("server")
    kinds = ("models", "embeddings", "templates", "presets", "loras")
    folders = {f"{kind}_dir": root / kind for kind in kinds}
    for folder in folders.values():
        folder.mkdir()
    whole = random_model.read_bytes()
    for name in MODELS:
        (folders["models_dir"] / f"{name}.gguf").write_bytes(BROKEN.get(name, whole))
    bare = whole.replace(b"tokenizer.chat_template", b"tokenizer.chat_nonesuch")
    (folders["models_dir"] / f"{NO_TEMPLATE}.gguf").write_bytes(bare)
    (folders["models_dir"] / "too-big-70b-exl3.gguf").write_bytes(whole[: len(whole) // 2])
    write_projector(folders["models_dir"] / f"mmproj-{VISION}.gguf")
    (folders["embeddings_dir"] / "mini-embed.gguf").write_bytes(whole)
    write_lora(folders["loras_dir"] / "pirate-lora.gguf")
    templates = {
        "open-chat": "{{ messages[-1].content }}",
        "strict-chat": "{{ raise_exception('Unexpected message role: ' ~ messages[-1].role) }}",
    }
    for name, source in templates.items():
        (folders["templates_dir"] / f"{name}.jinja").write_text(source)
    (folders["presets_dir"] / "calm.yml").write_text(
        "temperature: {force: false, override: 0.3}\ntop_k: {force: true, override: 40}\n"
    )
    (folders["presets_dir"] / "wild.yml").write_text("temperature: {override: 2}\n")
    return folders


class Servers:
    """A server for each way in which the real one was set up, started when it is asked for."""

    def __init__(self, folders: dict[str, Path], stack: ExitStack) -> None:
        self.folders = folders
        self._stack = stack
        self._running: dict[str, Raw] = {}
        self.template = load()["model_current"].json["parameters"]["prompt_template_content"]

    def __getitem__(self, profile: str) -> Raw:
        if profile not in self._running:
            pool = self._stack.enter_context(urllib3.PoolManager(maxsize=4))
            server = self._stack.enter_context(self._start(profile))
            self._running[profile] = Raw(server, pool)
        return self._running[profile]

    def _start(self, profile: str) -> LocalServer:
        own: dict[str, dict[str, Any]] = {
            "main": {"model": PLAIN, "ping_interval": 0.1},
            "inline": {"model": PLAIN, "inline_loading": True, "dummy_models": ("gpt-4o-mini",)},
            "noauth": {"auth": False},
            "nostream": {"model": VISION, "streaming": False, "image_fetch": "off"},
        }
        settings = {"api_keys": (API,), "admin_key": ADMIN, "n_ctx": 1024, "threads": 1, "slots": 2}
        settings |= {"parity": True} | self.folders | own[profile]
        if "model" in settings:
            settings["model"] = self.folders["models_dir"] / f"{settings['model']}.gguf"
        else:
            settings["model"] = None
        return LocalServer(**settings)


@pytest.fixture(scope="module")
def servers(folders: dict[str, Path]) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(folders, stack)


# ------------------------------------------------------------------ steps between the cases


def order(path: str, body: Any = None) -> Callable[[Raw], None]:
    """A step for the admin, whose answer is of no interest here but that it went well."""

    def step(server: Raw) -> None:
        answer = server("POST", path, body, headers=BOSS)
        assert answer.status == 200, answer.data
        assert b'{"error"' not in answer.data, answer.data

    return step


def load_model(name: str) -> Callable[[Raw], None]:
    return order("/v1/model/load", {"model_name": name})


UNLOAD = order("/v1/model/unload")

SCENES: dict[str, tuple[Any, ...]] = {
    "model_lists": ("model_current", "model_list_alias", "models_admin_key", "models_api_key",
                    "draft_list_admin_key", "draft_list_api_key", "props"),
    "no_model": (UNLOAD, "nomodel_chat", "nomodel_chat_invalid", "nomodel_chat_named",
                 "nomodel_completion", "nomodel_encode", "nomodel_encode_invalid",
                 "nomodel_lora_active", "nomodel_model", "nomodel_models_api", "nomodel_props",
                 "nomodel_template_list", "nomodel_unload", "health_no_model",
                 load_model(PLAIN)),
    "no_template": (load_model(NO_TEMPLATE), "notemplate_chat", "notemplate_completion",
                    "notemplate_model", "props_no_template", "template_list_api_none",
                    load_model(PLAIN)),
    "loads": ("load_api_key", "load_no_name", "load_empty_name", "load_missing", "load_vision",
              "unload_ok", "load_fail_mid", "model_after_failed_load", "load_fail_exl2",
              "load_fail_noconfig", "load_with_draft",
              load_model(PLAIN)),
    "vision": (load_model(VISION), "vision_two_images", "vision_svg_data_url",
               "vision_bad_base64", "vision_bare_base64", "vision_not_an_image",
               "vision_image_url_missing", "vision_http_404", "vision_http_refused",
               load_model(PLAIN)),
    "context": (order("/v1/model/load", {"model_name": "tiny-context-exl3", "max_seq_len": 512}),
                "ctx_chat_nonstream", "ctx_chat_stream", "ctx_compl_stream", "ctx_max_tokens_huge",
                load_model(PLAIN)),
    "downloads": ("download_missing_repo",),
    "embeddings": ("embed_list_api", "embed_card_not_loaded", "embed_load", "embed_load_twice",
                   "embed_card", "embed_list", "embed_base64", "embed_list_admin",
                   "embed_unload", "embed_card_not_loaded"),
    "templates": ("template_list_api", "template_list_admin", "template_switch_empty",
                  "template_switch_unknown", "template_unload", "template_list_api_none",
                  "chat_no_template", "chat_no_template_stream",
                  "tok_encode_messages_no_template",
                  order("/v1/template/switch", {"prompt_template_name": "open-chat"}),
                  "chat_min",
                  order("/v1/template/switch", {"prompt_template_name": "strict-chat"}),
                  "chat_template_error_stream", UNLOAD, load_model(PLAIN)),
    "overrides": ("sampling_list_admin", "sampling_list_api", "sampling_switch_empty",
                  "sampling_switch_preset", "sampling_list_after", "sampling_effect",
                  "sampling_switch_dict", "sampling_list_after_dict",
                  order("/v1/sampling/override/unload"), "sampling_list_after_unload"),
    "loras": ("lora_list_api", "lora_list_admin", "lora_active", "lora_load_empty",
              "lora_unload"),
    "inline": ("inline_models_api", "inline_models_admin", "inline_api_dummy",
               "inline_api_missing", "inline_api_other", "inline_admin_missing",
               "inline_admin_swap", "inline_admin_swap_stream", "inline_admin_swap_fail",
               "inline_after_fail", "inline_nomodel_dummy"),
    "noauth": ("noauth_permission", "noauth_embed_load_noextras", load_model(NO_TEMPLATE),
               "tok_encode_messages_no_template_ok", load_model(PLAIN),
               "tok_encode_messages_ok", "tok_encode_messages_empty_ok"),
    "nostream": ("nostream_completion",),
}  # fmt: skip

# -------------------------------------------------------------------- what is ours on purpose

# Where ours answers with another status: (ours, why).
OTHER_STATUS = {
    "load_with_draft": (400, "the models folder has no draft model of that name"),
    "nomodel_chat_named": (503, "no model is loaded, whatever the request names: no 500"),
    "inline_nomodel_dummy": (503, "no model is loaded, whatever the request names: no 500"),
    "inline_admin_swap_fail": (503, "a model that cannot be loaded is named, with the reason"),
    "template_switch_unknown": (400, "a wrong name is the caller's fault, and told"),
    "tok_encode_messages_no_template": (422, "no API of ours has to be switched on first"),
    "noauth_embed_load_noextras": (200, "embeddings need no extra here"),
    "vision_bad_base64": (400, "a picture that cannot be read is the caller's fault, and told"),
    "vision_bare_base64": (400, "a picture that cannot be read is the caller's fault, and told"),
    "vision_not_an_image": (400, "a picture that cannot be read is the caller's fault, and told"),
    "vision_image_url_missing": (400, "a part without its picture is refused, and told"),
    "vision_two_images": (400, "addresses of this machine are not fetched"),
    "vision_http_refused": (400, "addresses of this machine are not fetched"),
}

# Where the words of a refusal are ours.
OTHER_WORDS = {
    "vision_http_404": "addresses of this machine are not fetched, and that is told",
    "ctx_chat_nonstream": "tokens are counted by another vocabulary",
    "ctx_chat_stream": "tokens are counted by another vocabulary",
    "ctx_compl_stream": "tokens are counted by another vocabulary",
}

# Where the values, though of the same shape, say something about the set-up.
OTHER_VALUES = {
    "draft_list_admin_key": "any model of the folder may be a draft model",
    "template_list_api": "the name of the template in use tells where it came from",
    "embed_list": "vectors",
    "embed_base64": "vectors",
    "model_current": "context, slots and cache",
    "model_after_load_disconnect": "context, slots and cache",
    "notemplate_model": "context, slots and cache",
    "props": "context and slots",
    "props_no_template": "context and slots",
    "tok_encode_messages_ok": "another vocabulary",
    "tok_encode_messages_empty_ok": "another vocabulary, which begins no text with a token",
}


# Where a load goes another way: (the parts it tells of, why).
OTHER_LOADS = {
    "load_fail_mid": (["error"], "a file that is cut short is found out before the first step"),
}


# Recorded, and not asked of ours: the group of cases, and why.
NOT_PLAYED = {
    "chat_disconnect_": "the client left: tests of leaving have this",
    "chat_error_": "a fault of the scripted engine: tests of a struck engine have this",
    "chat_n_error_": "a fault of the scripted engine: tests of a struck engine have this",
    "compl_error_": "a fault of the scripted engine: tests of a struck engine have this",
    "shutdown_": "the server is stopped: tests of stopping have this",
    "chat_ctx_": "the cache of our engine is as large as its context",
    "ctx_alloc": "the cache of our engine is as large as its context",
    "chat_during_": "refused at once while a load waits, not after it",
    "chat_stream_during_": "refused at once while a load waits, not after it",
    "chat_while_": "refused with 503, Retry-After and the reason",
    "unload_during_": "needs an answer in the middle: tests of unloading have this",
    "harmony_": "our engine has no model of that format",
    "model_with_draft": "the models folder has no draft model of that name",
    "vision_http_url": "addresses of this machine are not fetched; tests of images allow it",
    "download_fail": "the text is that of the machine's sockets",
    "tok_decode": "ids of another vocabulary",
    "http_cors_preflight": "closed to other origins unless asked for",
    "docs_openapi": "our own description of our own routes",
}


def play(case: Capture, server: Raw) -> None:
    answer = ask(server, case)
    if case.name in OTHER_STATUS:
        assert answer.status == OTHER_STATUS[case.name][0], answer.data[:500]
    elif case.name in OTHER_WORDS:
        assert answer.status == case.status, answer.data[:500]
        same_shape(answer.json(), case.json)
    elif case.path == "/v1/model/load" and case.status == 200:
        same_load(answer.data, case)
        assert headers_of(answer.headers) == headers_of(case.response_headers)
    else:
        same_answer(answer, case)
        generated = "completions" in case.path
        if answer.status == 200 and not generated and case.name not in OTHER_VALUES:
            assert plain(answer.json()) == plain(case.json)


def plain(value: Any) -> Any:
    """Without times, and lists in an order that does not depend on that of a folder."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "created"}
    return sorted(map(plain, value), key=repr) if isinstance(value, list) else value


def same_load(data: bytes, case: Capture) -> None:
    """Each part counts to its end and is then finished, the model last; or an error ends it."""
    ours, theirs = data_events(data), case.events
    if case.name in OTHER_LOADS:
        assert [*phases(ours)] == OTHER_LOADS[case.name][0]
    else:
        # llama.cpp reads a projector after the model: the parts may come in another order.
        assert phases(ours) == phases(theirs)
        assert ours[-1].keys() == theirs[-1].keys()
        assert ours[-1].get("model_type") == theirs[-1].get("model_type")
    if "error" in ours[-1]:
        assert ours[-1]["error"].keys() == {"message", "trace"}
    # Compact, as the real server writes these.
    assert b'"model_type": ' not in data
    assert b'{"error": ' not in data


def phases(events: list[Any]) -> dict[str, list[Any]]:
    """What is told of each part: the numbers of its steps, without how many there are of them."""
    told: dict[str, list[Any]] = {}
    for event in events:
        kind = event.get("model_type", "error")
        if event.get("status") == "processing":
            told.setdefault(kind, []).append("processing")
        else:
            told.setdefault(kind, []).append(event.get("status"))
    return {kind: sorted(set(each), key=each.index) for kind, each in told.items()}


@pytest.mark.parametrize("scene", SCENES)
def test_answers_in_order_as_the_real_server_did(servers: Servers, scene: str) -> None:
    cases = [step for step in SCENES[scene] if isinstance(step, str)]
    profiles = {load()[name].profile for name in cases}
    server = servers[next(p for p in ("inline", "noauth", "nostream", "main") if p in profiles)]
    for step in SCENES[scene]:
        if isinstance(step, str):
            play(load()[step], server)
        else:
            step(server)


def test_no_recorded_case_is_left_out_without_a_reason() -> None:
    played = {case.name for case in CASES} | {"load_while_loading", "load_disconnect"}
    played |= {"model_after_load_disconnect"}
    played |= {step for scene in SCENES.values() for step in scene if isinstance(step, str)}
    left = set(load()) - played
    assert {name for name in left if not name.startswith(tuple(NOT_PLAYED))} == set()
    assert all(any(name.startswith(group) for name in left) for group in NOT_PLAYED)


def test_a_second_load_of_the_same_model_waits_and_has_nothing_left_to_do(servers: Servers) -> None:
    server = servers["main"]
    body = {"messages": HELLO, "stream": True, "max_tokens": 4000, "loop_detect_window": 0}
    running = server("POST", CHAT, body, stream=True)
    case = load()["load_while_loading"]
    loads = []
    for _ in range(2):  # the first waits for the answer above, the second for the first
        answer = server("POST", case.path, raw=case.request_body, headers=BOSS, stream=True)
        loads.append(answer.stream())
        assert next(loads[-1]).startswith(b": ping")
    running.close()
    first, second = (b"".join(each) for each in loads)
    same_load(first, case)
    assert data_events(second) == case.events
    load_model(PLAIN)(server)


def test_leaving_a_load_does_not_cancel_it(servers: Servers) -> None:
    server = servers["main"]
    case = load()["load_disconnect"]
    answer = server("POST", case.path, raw=case.request_body, headers=BOSS, stream=True)
    assert headers_of(answer.headers) == headers_of(case.response_headers)
    answer.close()
    load_model("slow-load-exl3")(server)  # waits for the load that was left
    play(load()["model_after_load_disconnect"], server)
    load_model(PLAIN)(server)
