"""The commands that look after a server: against the local one, or recorded answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from support.captures import load
from support.replay import ReplayServer, json_reply, replay
from tabbyapi import LocalServer

from .scripted import PROGRAM, clean_environment, run_here

ALIASES = {
    "/v1/lora/list": "/v1/loras",
    "/v1/template/list": "/v1/templates",
    "/v1/sampling/override/list": "/v1/sampling/overrides",
}


@pytest.fixture(scope="module")
def models_server(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A server of our own, with two models in its folder, a template and a preset."""
    folder = tmp_path_factory.mktemp("folder")
    for name in ("first", "second"):
        shutil.copyfile(tiny_model, folder / f"{name}.gguf")
    (folder / "shout.jinja").write_text("{{ messages[-1].content | upper }}")
    (folder / "calm.yml").write_text("temperature:\n  override: 0.3\n  force: true\n")
    with LocalServer(
        model=folder / "first.gguf", models_dir=folder, templates_dir=folder, presets_dir=folder
    ) as server:
        yield server


def at(server: LocalServer) -> dict[str, str]:
    """The environment of someone who has this server's keys."""
    return {
        "TABBY_API_ENDPOINT": server.url,
        "TABBY_API_KEY": server.api_key,
        "TABBY_ADMIN_KEY": server.admin_key,
    }


def replayed(
    home: Path, capture: str, *args: str, stdin: str = ""
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any] | None]:
    """Runs a command against a recorded answer; returns what it did, and the body it sent."""
    with ReplayServer(replay(load()[capture])) as server:
        done = run_here(home, *args, "--url", server.url, "--admin-key", "k", stdin=stdin)
    request = server.requests[0]
    assert request.target == ALIASES.get(path := load()[capture].path, path)
    return done, request.json if request.body else None


def test_models_are_listed_loaded_and_unloaded(tmp_path: Path, models_server: LocalServer) -> None:
    environment = at(models_server)
    assert run_here(tmp_path, "models", **environment).stdout.split() == ["first", "second"]
    listed = run_here(tmp_path, "models", "list", "--json", **environment)
    assert [card["id"] for card in json.loads(listed.stdout)] == ["first", "second"]
    shown = run_here(tmp_path, "models", "show", **environment).stdout.splitlines()
    assert shown[0] == "first"
    assert shown[1].split()[0] == "context"

    loaded = run_here(tmp_path, "models", "load", "second", "--json", **environment)
    assert loaded.returncode == 0
    assert json.loads(loaded.stdout)["status"] == "finished"
    assert run_here(tmp_path, "models", "show", **environment).stdout.splitlines()[0] == "second"

    done = run_here(tmp_path, "models", "unload", **environment)
    assert (done.returncode, done.stdout) == (0, "The model is unloaded.\n")
    gone = run_here(tmp_path, "models", "show", **environment)
    assert gone.returncode == 1
    assert "tabbyapi models load NAME" in gone.stderr
    again = run_here(tmp_path, "models", "load", "first", "--max-seq-len", "512", **environment)
    assert (again.returncode, again.stdout) == (0, "first is loaded.\n")
    card = json.loads(run_here(tmp_path, "models", "show", "--json", **environment).stdout)
    assert card["parameters"]["max_seq_len"] == 512


def test_at_a_terminal_a_load_shows_a_bar_and_a_star_marks_the_loaded_model(
    tmp_path: Path, models_server: LocalServer
) -> None:
    environment = clean_environment(tmp_path, TERM="xterm-256color", **at(models_server))
    for args, expected in (
        (["models", "load", "second"], r"second.*\d+/\d+.*second is loaded\."),
        (["models"], r"  first\r\n\* second\r\n"),
        (["models", "load", "first"], r"first is loaded\."),
    ):
        process = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], *args],
            env=environment,
            dimensions=(24, 100),
            encoding="utf-8",
            timeout=60,
        )
        process.expect(f"(?s){expected}")
        process.expect(pexpect.EOF)
        process.close()
        assert process.exitstatus == 0


def test_a_model_that_is_not_there_is_told(tmp_path: Path, models_server: LocalServer) -> None:
    done = run_here(tmp_path, "models", "load", "third", **at(models_server))
    assert done.returncode == 1
    assert done.stderr == "Error: the server has no model 'third': it has first, second\n"


def test_without_the_admin_key_a_change_is_refused_with_advice(
    tmp_path: Path, models_server: LocalServer
) -> None:
    environment = {**at(models_server), "TABBY_ADMIN_KEY": ""}
    done = run_here(tmp_path, "models", "unload", **environment)
    assert done.returncode == 1
    assert "--admin-key KEY" in done.stderr
    assert models_server.api_key not in done.stderr


def test_a_load_that_fails_under_way_is_an_error(tmp_path: Path) -> None:
    done, _ = replayed(tmp_path, "load_fail_mid", "models", "load", "plain-7b")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Error:" in done.stderr


def test_options_of_a_load_are_sent(tmp_path: Path) -> None:
    options = "--cache-mode Q8 --no-vision --draft small --param tensor_parallel=true"
    done, body = replayed(
        tmp_path, "load_with_draft", "models", "load", "plain-7b", *options.split()
    )
    assert (done.returncode, done.stdout) == (0, "plain-7b is loaded.\n")
    assert body == {
        "model_name": "plain-7b",
        "cache_mode": "Q8",
        "vision": False,
        "draft_model": {"draft_model_name": "small"},
        "tensor_parallel": True,
    }
    wrong = run_here(tmp_path, "models", "load", "x", "--param", "tensor_paralel=true")
    assert wrong.returncode == 2
    assert "tensor_parallel" in wrong.stderr


def test_a_download_says_where_it_went(tmp_path: Path) -> None:
    answer = json_reply(200, {"download_path": "models/some-model"})
    with ReplayServer(answer) as server:
        done = run_here(
            tmp_path,
            *("models", "download", "someone/some-model", "--revision", "4.0bpw"),
            *("--include", "*.gguf", "--include", "*.json", "--url", server.url),
        )
    assert (done.returncode, done.stdout) == (0, "models/some-model\n")
    assert server.requests[0].json == {
        "repo_id": "someone/some-model",
        "repo_type": "model",
        "revision": "4.0bpw",
        "include": ["*.gguf", "*.json"],
    }
    done, _ = replayed(tmp_path, "download_fail", "models", "download", "someone/some-model")
    assert done.returncode == 1


def test_embedding_models_have_the_same_commands(tmp_path: Path) -> None:
    done, _ = replayed(tmp_path, "embed_list_admin", "models", "list", "--embedding")
    assert done.stdout.split() == [c["id"] for c in load()["embed_list_admin"].json["data"]]
    done, body = replayed(
        tmp_path, "embed_load", "models", "load", "mini-embed", "--embedding", "--json"
    )
    assert json.loads(done.stdout)["status"] == "finished"
    assert body == {"embedding_model_name": "mini-embed"}
    done, _ = replayed(tmp_path, "embed_unload", "models", "unload", "--embedding", "--json")
    assert done.stdout == "null\n"


def test_adapters_are_listed_loaded_and_unloaded(tmp_path: Path) -> None:
    done, _ = replayed(tmp_path, "lora_list_admin", "lora")
    assert done.stdout.split() == [c["id"] for c in load()["lora_list_admin"].json["data"]]
    with ReplayServer(json_reply(200, {"success": ["pirate", "b"], "failure": []})) as server:
        done = run_here(tmp_path, "lora", "load", "pirate=0.8", "b", "--url", server.url)
    assert done.stdout == "pirate is in use.\nb is in use.\n"
    assert server.requests[0].json["loras"] == [
        {"name": "pirate", "scaling": 0.8},
        {"name": "b", "scaling": 1.0},
    ]
    with ReplayServer(json_reply(200, {"success": [], "failure": ["pirate"]})) as server:
        done = run_here(tmp_path, "lora", "load", "pirate", "--url", server.url)
    assert done.returncode == 1
    assert "did not load these adapters: pirate" in done.stderr
    done, _ = replayed(tmp_path, "lora_unload", "lora", "unload")
    assert done.stdout == "No adapter is in use.\n"
    assert run_here(tmp_path, "lora", "load", "pirate=loud").returncode == 2


def test_templates_are_listed_switched_and_unloaded(tmp_path: Path) -> None:
    done, _ = replayed(tmp_path, "template_list_admin", "templates", "list")
    assert done.stdout.split() == load()["template_list_admin"].json["data"]
    done, body = replayed(tmp_path, "template_switch_unknown", "templates", "switch", "nope")
    assert done.returncode == 1
    assert "could not switch to the template 'nope'" in done.stderr
    assert body == {"prompt_template_name": "nope"}
    done, _ = replayed(tmp_path, "template_unload", "templates", "unload")
    assert done.stdout == "No template is in use.\n"


def test_overrides_are_listed_switched_and_unloaded(tmp_path: Path) -> None:
    done, _ = replayed(tmp_path, "sampling_list_after", "sampling", "list")
    assert done.stdout.startswith("in force: ")
    assert "presets: " in done.stdout
    done, _ = replayed(tmp_path, "sampling_list_after", "sampling", "list", "--json")
    assert set(json.loads(done.stdout)) == {"selected_preset", "overrides", "presets"}
    done, body = replayed(tmp_path, "sampling_switch_preset", "sampling", "switch", "calm")
    assert (done.returncode, body) == (0, {"preset": "calm"})
    done, body = replayed(
        tmp_path,
        "sampling_switch_dict",
        *("sampling", "switch", "--param", "temperature=0.3", "--force"),
    )
    assert body["overrides"]["temperature"]["override"] == 0.3
    assert body["overrides"]["temperature"]["force"] is True
    assert run_here(tmp_path, "sampling", "switch").returncode == 2


def test_templates_overrides_and_embeddings_of_the_local_server(
    tmp_path: Path, models_server: LocalServer
) -> None:
    def told(*args: str) -> str:
        done = run_here(tmp_path, *args, **at(models_server))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert told("templates") == "shout\n"
    assert told("templates", "switch", "shout") == "The template is shout.\n"
    assert "template          shout" in told("models", "show")
    assert told("sampling") == "in force: nothing\npresets: calm\n"
    told("sampling", "switch", "calm")
    assert told("sampling").startswith("in force: calm\n  temperature = 0.3, forced\n")
    told("sampling", "unload")
    assert told("sampling").startswith("in force: nothing\n")
    assert told("models", "load", "second", "--embedding") == "second is loaded.\n"
    assert told("models", "show", "--embedding").startswith("second")
    vectors = [json.loads(line) for line in told("embed", "first text", "second").splitlines()]
    assert len(vectors) == 2
    assert sum(number**2 for number in vectors[0]) == pytest.approx(1, abs=1e-3)
    told("models", "unload", "--embedding")
    assert run_here(tmp_path, "embed", "text", **at(models_server)).returncode == 1


def test_tokens_are_counted_taken_apart_and_put_together(
    tmp_path: Path, local_server: LocalServer
) -> None:
    environment = at(local_server)
    count = run_here(tmp_path, "tokens", "Hello", "there", **environment)
    ids = run_here(tmp_path, "tokens", "--ids", "--no-bos", stdin="Hello there", **environment)
    assert count.returncode == 0
    assert int(count.stdout) >= len(ids.stdout.split()) > 0
    back = run_here(tmp_path, "tokens", "--decode", stdin=ids.stdout, **environment)
    assert back.stdout == "Hello there\n"
    as_json = json.loads(
        run_here(tmp_path, "tokens", "Hello there", "--json", **environment).stdout
    )
    assert as_json["length"] == len(as_json["tokens"]) == int(count.stdout)
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "Hello there"}]')
    talk = run_here(tmp_path, "tokens", "--messages", "talk.json", **environment)
    assert int(talk.stdout) > 0
    assert run_here(tmp_path, "tokens", "--decode", "a", **environment).returncode == 2


def test_texts_become_vectors_a_line_each(tmp_path: Path) -> None:
    done, body = replayed(tmp_path, "embed_list", "embed", stdin="hello world\n\nbye\n")
    assert body["input"] == ["hello world", "bye"]
    wanted = [item["embedding"] for item in load()["embed_list"].json["data"]]
    assert [json.loads(line) for line in done.stdout.splitlines()] == wanted
    done, _ = replayed(tmp_path, "embed_list", "embed", "hello world", "bye", "--json")
    assert [item["embedding"] for item in json.loads(done.stdout)["data"]] == wanted


def test_health_is_told_and_gives_the_status(tmp_path: Path, local_server: LocalServer) -> None:
    good = run_here(tmp_path, "health", **at(local_server))
    assert (good.returncode, good.stdout) == (0, "healthy\n")
    issue = {"time": "2026-01-02T03:04:05.000006Z", "description": "it broke"}
    bad = json_reply(503, {"status": "unhealthy", "issues": [issue]})
    with ReplayServer(bad) as server:
        done = run_here(tmp_path, "health", "--url", server.url)
        as_json = run_here(tmp_path, "health", "--json", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, f"unhealthy\n{issue['time']}  it broke\n")
    assert json.loads(as_json.stdout)["issues"] == [issue]


def test_whoami_says_which_server_and_what_the_key_allows(
    tmp_path: Path, local_server: LocalServer
) -> None:
    environment = at(local_server)
    facts = json.loads(run_here(tmp_path, "whoami", "--json", **environment).stdout)
    assert facts == {
        "server": local_server.url,
        "address": "that of TABBY_API_ENDPOINT",
        "permission": "admin",
    }
    environment["TABBY_ADMIN_KEY"] = ""
    assert "permission  api\n" in run_here(tmp_path, "whoami", **environment).stdout
    wrong = run_here(tmp_path, "whoami", **{**environment, "TABBY_API_KEY": "a-wrong-key"})
    assert wrong.returncode == 1
    assert "--api-key KEY" in wrong.stderr
    assert "a-wrong-key" not in wrong.stderr
