"""Text from servers, models and files: escape sequences, encodings, sizes, broken files."""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path
from typing import Any

import pexpect
import pytest

from support.replay import ReplayServer, Reply, Request, json_reply

from .scripted import PROGRAM, bodies, clean_environment, plain, run, run_here, streamed

EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\x85\u202eevil\u2066\x00\x08"
HARMFUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # what the program itself writes
KEYS = {"TABBY_API_KEY": "k", "TABBY_ADMIN_KEY": "k"}


def evil_server(request: Request) -> Reply:
    """Answers everything with words that a terminal would act on."""
    path = request.target.partition("?")[0]
    card = {"id": f"m{EVIL}", "object": "model", "parameters": {"prompt_template": EVIL}}
    if path == "/health":
        issue = {"time": EVIL, "description": EVIL}
        return json_reply(503, {"status": f"unhealthy{EVIL}", "issues": [issue]})
    if path.endswith("/model"):
        return json_reply(200, card)
    if path in ("/v1/models", "/v1/model/list", "/v1/loras", "/v1/lora/list"):
        return json_reply(200, {"object": "list", "data": [card]})
    if path in ("/v1/templates", "/v1/template/list"):
        return json_reply(200, {"object": "list", "data": [EVIL]})
    if path in ("/v1/sampling/overrides", "/v1/sampling/override/list"):
        override = {"override": EVIL, "force": False, "additive": False}
        content = {"selected_preset": EVIL, "overrides": {EVIL: override}, "presets": [EVIL]}
        return json_reply(200, content)
    if path == "/v1/token/decode":
        return json_reply(200, {"text": EVIL})
    if path == "/v1/auth/permission":
        return json_reply(200, {"permission": EVIL})
    if path == "/v1/chat/completions" and request.json["messages"][-1]["content"] == "hi":
        return streamed("fine ", EVIL) if request.json.get("stream") else plain(EVIL)
    return json_reply(400, {"detail": f"refused {EVIL}"})


COMMANDS = (
    *("ask hi", "ask hi --no-stream", "ask hi --json", "ask broken", "models list --json"),
    *("models list", "models show", "models load x", "models unload", "models download a/b"),
    *("lora list", "lora load x", "templates list", "templates switch x", "sampling list"),
    *("sampling switch x", "tokens --decode 5", "tokens hi", "embed hi", "health", "whoami"),
    *("health --json", "sampling list --json", "templates list --json", "ask hi -v"),
    *("ask hi --model other", "chat", "env", "batch in.jsonl out.jsonl"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_gets_nothing_that_it_would_act_on(tmp_path: Path, command: str) -> None:
    (tmp_path / "in.jsonl").write_text('"broken"\n')
    environment = clean_environment(tmp_path, TERM="dumb", PYTHONUTF8="1", **KEYS)
    with ReplayServer([evil_server]) as server:
        child = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], *command.split(), "--url", server.url],
            env=environment,
            cwd=str(tmp_path),
            encoding="utf-8",
            timeout=60,
        )
        if command == "chat":
            child.send("hi\nbroken\n")
            child.expect("refused")
        child.expect(pexpect.EOF)
        seen = (child.before or "") + (child.after if isinstance(child.after, str) else "")
        child.close()
    assert not HARMFUL.search(OWN.sub("", seen)), seen
    assert "Traceback" not in seen
    assert "fault of tabbyapi" not in seen


def test_a_conversation_at_a_terminal_passes_no_escape_sequences_on(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", **KEYS)
    with ReplayServer([evil_server]) as server:
        child = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], "chat", "--url", server.url],
            env=environment,
            cwd=str(tmp_path),
            encoding="utf-8",
            timeout=30,
        )
        child.expect("More: /help")
        seen = child.before
        for text, expected in (("hi", "fine"), ("broken", "refused"), ("/model", "Others|others")):
            child.send(text + "\r")
            child.expect(expected)
            seen += child.before + child.after
        child.send("\x04")
        child.expect(pexpect.EOF)
        seen += child.before
        child.close()
    assert "\x1b]52" not in seen
    assert "\x1b[2J" not in seen
    assert not re.search("[\x80-\x9f\u202e\u2066]", seen)


def test_a_pipe_gets_the_text_as_it_came(tmp_path: Path) -> None:
    with ReplayServer(streamed(EVIL)) as server:
        done = run(tmp_path, "ask", "hi", "--url", server.url)
    assert done.stdout == EVIL + "\n"


ODD = "Grüße ✓ 你好 😀"


def odd_server(request: Request) -> Reply:
    path = request.target
    card = {"id": ODD, "object": "model", "parameters": {"prompt_template": ODD}}
    if path == "/health":
        return json_reply(200, {"status": "healthy", "issues": [{"time": ODD, "description": ODD}]})
    if path.endswith("/model"):
        return json_reply(200, card)
    if "template" in path:
        return json_reply(200, {"object": "list", "data": [ODD]})
    if "sampling" in path:
        return json_reply(200, {"selected_preset": ODD, "overrides": {}, "presets": [ODD]})
    if path == "/v1/chat/completions":
        return streamed(ODD) if request.json.get("stream") else plain(ODD)
    return json_reply(200, {"object": "list", "data": [card]})


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    "command",
    ["models list", "models show", "lora list", "templates list", "sampling list", "health", "ask"],
)
def test_output_in_another_encoding_is_no_fault(
    tmp_path: Path, command: str, json_wanted: bool, encoding: str
) -> None:
    args = [*command.split(), *(["hi"] if command == "ask" else [])]
    args += ["--json"] if json_wanted else []
    with ReplayServer([odd_server]) as server:
        done = run_bytes(tmp_path, *args, "--url", server.url, PYTHONIOENCODING=encoding)
    assert done[0] == 0
    text = done[1].decode(encoding)
    assert ODD in json.dumps(json.loads(text), ensure_ascii=False) if json_wanted else "?" in text


def test_settings_in_another_encoding_are_no_fault(tmp_path: Path) -> None:
    run_here(tmp_path, "config", "set", "system", ODD)
    status, out = run_bytes(tmp_path, "config", "show", "--json", PYTHONIOENCODING="cp1252")
    assert (status, json.loads(out)["system"]["value"]) == (0, ODD)
    assert run_bytes(tmp_path, "config", "show", PYTHONIOENCODING="ascii")[0] == 0


def test_standard_input_is_read_as_utf_8_whatever_the_output_is(tmp_path: Path) -> None:
    with ReplayServer([plain("ok")]) as server:
        for command in (["ask", "--no-stream"], ["ask", "Question", "--no-stream"]):
            given = codecs.BOM_UTF8 + ODD.encode() + b"\r\nsecond\r\n"
            status, _ = run_bytes(
                tmp_path, *command, "--url", server.url, stdin=given, PYTHONIOENCODING="cp1252"
            )
            assert status == 0
    for body in bodies(server.requests):
        assert body["messages"][0]["content"].endswith(f"{ODD}\nsecond")


def test_bytes_of_arguments_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    with ReplayServer([plain("ok")]) as server:
        args = ("ask", os.fsdecode(b"caf\xe9"), "--system", os.fsdecode(b"\xff"), "--no-stream")
        assert run_bytes(tmp_path, *args, "--url", server.url)[0] == 0
    system, user = bodies(server.requests)[0]["messages"]
    assert (system["content"], user["content"]) == ("\ufffd", "caf\ufffd")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_that_windows_editors_wrote_are_read(tmp_path: Path, encoding: str) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))

    schema = {"type": "object"}
    write("notes.txt", "one\ntwo\n")
    write("schema.json", json.dumps(schema, indent=1))
    write("system.txt", "Be\nbrief.\n")
    write("talk.json", '[{"role": "user", "content": "hi"}]')
    with ReplayServer([plain("{}")]) as server:
        folder = tmp_path / ".config" / "py-tabbyapi"
        folder.mkdir(parents=True)
        write(".config/py-tabbyapi/config.toml", f'url = "{server.url}"\nmodel = "test"\n')
        keys = json.dumps({server.url: {"api_key": "the-key"}})
        write(".config/py-tabbyapi/credentials.json", keys)
        (folder / "credentials.json").chmod(0o600)
        files = ("--file", "notes.txt", "--schema", "schema.json", "--system", "@system.txt")
        done = run(tmp_path, "ask", "Q", *files)
        assert (done.returncode, done.stderr) == (0, "")
        run(tmp_path, "tokens", "--messages", "talk.json")
    body = bodies(server.requests)[0]
    assert body["messages"][0]["content"] == "Be\nbrief."
    assert body["messages"][1]["content"] == "Q\n\nnotes.txt:\n```\none\ntwo\n```"
    assert (body["json_schema"], body["model"]) == (schema, "test")
    assert server.requests[0].headers["x-api-key"] == "the-key"
    assert b'"hi"' in server.requests[1].body


@pytest.mark.parametrize(
    "args",
    [
        ("ask", "hi", "--file", "/dev/zero"),
        ("ask", "hi", "--schema", "/dev/zero"),
        ("ask", "hi", "--system", "@/dev/zero"),
        ("ask", "hi", "--image", "/dev/zero"),
        ("tokens", "--messages", "/dev/zero"),
    ],
)
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device of POSIX")
def test_a_file_without_end_is_refused(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = run(tmp_path, *args, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "/dev/zero" in done.stderr
    assert "Traceback" not in done.stderr


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.toml", f"max_tokens = {DIGITS}".encode()),
        ("config.toml", b"x = " + b"[" * 100_000),
        ("config.toml", b"x" + b".a" * 100_000 + b" = 1"),
        ("config.toml", b'url = "\xff\xfe\xfa"'),
        ("config.toml", b"servers = 5"),
        ("config.toml", b"[servers.a]\nurl = 7"),
        ("config.toml", b"[servers.a]\n"),
        ("credentials.json", f'{{"a": {DIGITS}}}'.encode()),
        ("credentials.json", b"[" * 100_000),
        ("credentials.json", b'{"a": "\xff"}'),
        ("credentials.json", b"null"),
    ],
    ids=lambda value: str(value)[:24],
)
@pytest.mark.parametrize(
    "args",
    [("ask", "hi", "--url", "http://127.0.0.1:9"), ("config", "show")],
    ids=["ask", "config"],
)
def test_a_broken_file_ends_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, args: tuple[str, ...]
) -> None:
    folder = tmp_path / ".config" / "py-tabbyapi"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o600)
    done = run_here(tmp_path, *args)
    assert done.returncode == 2
    assert name in done.stderr
    assert "fault of tabbyapi" not in done.stderr
    assert len(done.stderr) < 600


def test_a_number_of_5000_digits_is_refused_as_a_setting(tmp_path: Path) -> None:
    for value in (DIGITS, "9" * 400):
        done = run_here(tmp_path, "config", "set", "max-tokens", value)
        assert done.returncode == 2
        assert len(done.stderr) < 600


def run_bytes(home: Path, *args: str, stdin: bytes = b"", **environment: str) -> tuple[int, bytes]:
    """Runs the program; its status, and its output as bytes."""
    import subprocess

    done: Any = subprocess.run(
        [*PROGRAM, *args],
        input=stdin,
        capture_output=True,
        env={**clean_environment(home), **environment},
        cwd=home,
        timeout=60,
        check=False,
    )
    assert b"fault of tabbyapi" not in done.stderr
    return done.returncode, done.stdout
