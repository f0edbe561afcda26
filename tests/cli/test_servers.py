"""Which server is meant, by which name, and what is told on the way: -s, env, -v, suggestions."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.replay import ReplayServer

from .scripted import answering, bodies, chats, plain, run, run_here, streamed

KEY = "the-key-of-gpu"


def add(home: Path, name: str, url: str, key: str = "") -> None:
    done = run_here(home, "config", "add-server", name, "--url", url)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{name} is now {url}" in done.stderr
    if key:
        done = run_here(home, "config", "set", "api-key", "-s", name, stdin=key)
        assert done.returncode == 0


def keys_sent(server: ReplayServer) -> list[str | None]:
    return [request.headers.get("x-api-key") for request in server.requests]


def test_servers_have_names_and_keys_of_their_own(tmp_path: Path) -> None:
    with ReplayServer([plain("ok")]) as gpu, ReplayServer([plain("ok")]) as cpu:
        add(tmp_path, "gpu", gpu.url, KEY)
        add(tmp_path, "cpu", cpu.url)
        environment = {"TABBY_API_KEY": "another", "TABBY_API_ENDPOINT": "http://127.0.0.1:9"}
        for options in (("-s", "gpu"), ("--server", "cpu")):
            done = run_here(tmp_path, "ask", "hi", "--no-stream", *options, **environment)
            assert done.returncode == 0
        assert run_here(tmp_path, "ask", "hi", "--no-stream", "-s", "gpu").returncode == 0
    assert keys_sent(gpu) == [KEY, KEY]  # the environment's key is that of another server
    assert keys_sent(cpu) == ["another"]


def test_every_command_takes_the_name_of_a_server(tmp_path: Path) -> None:
    for command in ("ask hi", "chat", "models", "lora list", "templates", "sampling", "tokens hi"):
        done = run_here(tmp_path, *command.split(), "-s", "gpu")
        assert done.returncode == 2
        assert "tabbyapi config add-server gpu --url URL" in done.stderr


def test_a_server_is_changed_and_forgotten_with_its_keys(tmp_path: Path) -> None:
    add(tmp_path, "gpu", "http://127.0.0.1:1", KEY)
    add(tmp_path, "other", "http://127.0.0.1:3")
    add(tmp_path, "gpu", "http://127.0.0.1:2", KEY)
    shown = json.loads(run_here(tmp_path, "config", "show", "--json").stdout)
    assert shown["servers"] == {"gpu": "http://127.0.0.1:2", "other": "http://127.0.0.1:3"}
    assert "server gpu: http://127.0.0.1:2" in run_here(tmp_path, "config", "show").stdout
    assert run_here(tmp_path, "config", "remove-server", "gpu").returncode == 0
    assert "there are other" in run_here(tmp_path, "whoami", "-s", "gpu").stderr
    folder = tmp_path / ".config" / "py-tabbyapi"
    assert "127.0.0.1:2" not in (folder / "credentials.json").read_text()
    assert (folder / "config.toml").read_text() == '[servers.other]\nurl = "http://127.0.0.1:3"\n'


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("config", "add-server", "a b", "--url", "http://x"), "no name for a server"),
        (("config", "add-server", "gpu", "--url", "ftp://x"), "not of the form"),
        (("ask", "hi", "-s", "gpuu"), "there is no server 'gpuu'; did you mean gpu?"),
        (("ask", "hi", "-s", "gpu", "--url", "http://x"), "give one"),
        (("config", "set", "url", "http://x", "-s", "gpu"), "no more, and no less"),
    ],
)
def test_a_wrong_name_or_address_is_a_usage_error(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    add(tmp_path, "gpu", "http://127.0.0.1:9")
    done = run_here(tmp_path, *args)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


BOM = "\ufeff"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", ["", BOM], ids=["plain", "BOM"])
def test_the_config_file_keeps_its_form(tmp_path: Path, mark: str, end: str) -> None:
    folder = tmp_path / ".config" / "py-tabbyapi"
    folder.mkdir(parents=True)
    target = tmp_path / "dotfiles.toml"
    (folder / "config.toml").symlink_to(target)

    def lines(*wanted: str) -> bytes:
        return (mark + "".join(line + end for line in wanted)).encode()

    target.write_bytes(
        lines(
            'url = "http://a:1"  # the "#1" of them',
            "",
            "# the big one",
            "[servers.gpu]",
            'url = "http://g:1" # at home',
        )
    )
    target.chmod(0o644)
    for name, value in (("url", "http://b:2"), ("model", "m#1"), ("temperature", "0.5")):
        assert run_here(tmp_path, "config", "set", name, value).returncode == 0
    assert run_here(tmp_path, "config", "set", "model", "m#2").returncode == 0
    assert run_here(tmp_path, "config", "unset", "temperature").returncode == 0
    add(tmp_path, "gpu", "http://g:2")
    add(tmp_path, "new", "http://n:1")
    assert target.read_bytes() == lines(
        'url = "http://b:2"  # the "#1" of them',
        'model = "m#2"',
        "",
        "# the big one",
        "[servers.gpu]",
        'url = "http://g:2" # at home',
        "",
        "[servers.new]",
        'url = "http://n:1"',
    )
    assert (folder / "config.toml").is_symlink()
    assert target.stat().st_mode & 0o777 == 0o644


def test_setting_and_unsetting_is_confirmed(tmp_path: Path) -> None:
    done = run_here(tmp_path, "config", "set", "max-tokens", "7")
    assert (done.stdout, "max-tokens is now 7" in done.stderr) == ("", True)
    assert run_here(tmp_path, "config", "unset", "max-tokens").stderr == (
        "max-tokens is no longer set.\n"
    )


def test_env_prints_lines_for_a_shell_with_the_keys_masked(tmp_path: Path) -> None:
    add(tmp_path, "gpu", "http://127.0.0.1:9", KEY)
    done = run_here(tmp_path, "env", "-s", "gpu")
    assert done.returncode == 0
    assert "export TABBY_API_ENDPOINT=http://127.0.0.1:9\n" in done.stdout
    assert "export TABBY_API_KEY='********'\n" in done.stdout
    assert KEY not in done.stdout + done.stderr
    assert "TABBY_ADMIN_KEY" not in done.stdout
    assert "--show-keys" in done.stderr
    done = run_here(tmp_path, "env", "-s", "gpu", "--show-keys")
    assert f"export TABBY_API_KEY={KEY}\n" in done.stdout
    assert done.stderr == ""


def test_requests_are_shown_when_asked_for_without_keys(tmp_path: Path) -> None:
    with ReplayServer([chats(streamed("ok"))]) as server:
        options = ("--url", server.url, "--api-key", KEY)
        done = run(tmp_path, "ask", "hi", "-v", *options)
        quiet = run(tmp_path, "ask", "hi", *options)
    assert (done.stdout, quiet.stderr) == ("ok\n", "")
    assert "* POST /v1/chat/completions 200 in " in done.stderr
    assert KEY not in done.stderr


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (("serv",), "Did you mean 'serve'?"),
        (("modles",), "Did you mean 'models'?"),
        (("models", "lost"), "Did you mean 'list'?"),
        (("config", "add-sever"), "Did you mean 'add-server'?"),
        (("xyzzy",), "There are chat, ask"),
    ],
)
def test_a_mistyped_command_is_suggested(
    tmp_path: Path, args: tuple[str, ...], advice: str
) -> None:
    done = run_here(tmp_path, *args)
    assert done.returncode == 2
    assert advice in " ".join(done.stderr.split())


def completions(home: Path, line: str, **environment: str) -> str:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return run(home, **words, _TABBYAPI_COMPLETE="bash_complete", **environment).stdout


def test_a_shell_completes_names_of_models_and_servers(tmp_path: Path) -> None:
    from support.replay import Reply, Request, json_reply

    def listing(request: Request) -> Reply:
        cards = [{"id": name, "object": "model"} for name in ("qwen3-8b", "qwen3-4b", "phi")]
        return json_reply(200, {"object": "list", "data": cards})

    add(tmp_path, "gpu", "http://127.0.0.1:9")
    add(tmp_path, "cpu", "http://127.0.0.1:9")
    with ReplayServer([listing]) as server:
        environment = {"TABBY_API_ENDPOINT": server.url}
        for line in ("tabbyapi ask -m qw", "tabbyapi chat --model qw", "tabbyapi models load qw"):
            found = completions(tmp_path, line, **environment)
            assert "qwen3-8b" in found
            assert "phi" not in found
        assert "gpu" in completions(tmp_path, "tabbyapi ask -s g", **environment)
        assert "cpu" not in completions(tmp_path, "tabbyapi ask -s g", **environment)
    gone = completions(tmp_path, "tabbyapi ask -m q", TABBY_API_ENDPOINT="http://127.0.0.1:9")
    assert gone.strip() == ""


def test_a_model_that_the_server_did_not_switch_to_is_told(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "ask", "hi", "-m", "nope", "--url", server.url)
        same = run(tmp_path, "ask", "hi", "-m", "test", "--url", server.url)
    assert done.returncode == 0
    assert "(answered by test: the server did not switch to nope)" in done.stderr
    assert same.stderr == ""
    assert bodies(server.requests)[0]["model"] == "nope"


def test_without_a_server_a_bare_install_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr("tabbyapi.cli.connect._PORT", port)
    monkeypatch.setattr("tabbyapi.cli.embedded.find_spec", lambda name: None)
    done = run_here(tmp_path, "ask", "hi")
    assert done.returncode == 3
    assert "pip install 'py-tabbyapi[local]'" in done.stderr
    assert "tabbyapi serve" not in done.stderr  # it would not work either
    named = run_here(tmp_path, "ask", "hi", "--url", f"http://127.0.0.1:{port}")
    assert "pip install 'py-tabbyapi[local]'" in named.stderr
