"""`tabbyapi config`: settings, their order, and keys that go to their own server only."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from support.replay import ReplayServer

from .scripted import PROGRAM, answering, bodies, clean_environment, plain, run, run_here, streamed

KEY = "a-key-that-must-show-nowhere"

# A keyring of one JSON file, for a program that imports `keyring`.
FAKE_KEYRING = """
import json, os, pathlib, types
class KeyringError(Exception): pass
errors = types.SimpleNamespace(KeyringError=KeyringError)
_file = pathlib.Path(os.environ["FAKE_KEYRING"])
def _all(): return json.loads(_file.read_text()) if _file.exists() else {}
def _check():
    if os.environ.get("FAKE_KEYRING_LOCKED"): raise KeyringError("locked, and the key is ...")
def get_password(service, name): _check(); return _all().get(f"{service} {name}")
def set_password(service, name, key):
    _check(); _file.write_text(json.dumps({**_all(), f"{service} {name}": key}))
def delete_password(service, name):
    _check(); kept = _all(); del kept[f"{service} {name}"]; _file.write_text(json.dumps(kept))
"""


@pytest.fixture
def keyring(tmp_path: Path) -> dict[str, str]:
    """The environment of a program that finds a keyring."""
    package = tmp_path / "packages" / "keyring"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_KEYRING)
    return {"PYTHONPATH": str(package.parent), "FAKE_KEYRING": str(tmp_path / "keyring.json")}


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    with ReplayServer([answering]) as server:
        yield server


def config_path(home: Path) -> Path:
    return Path(run_here(home, "config", "path").stdout.rstrip("\n"))


def shown(home: Path, **environment: str) -> dict[str, dict[str, str]]:
    return json.loads(run_here(home, "config", "show", "--json", **environment).stdout)


def keys_sent(server: ReplayServer) -> list[str | None]:
    return [r.headers.get("x-api-key") for r in server.requests if r.method == "POST"]


def files_of(home: Path) -> str:
    """Everything in the user's files but the keys."""
    files = [file for file in home.rglob("*") if file.is_file()]
    return "".join(f.read_text() for f in files if f.name not in ("credentials.json",))


def test_a_setting_is_used_by_ask_chat_and_batch(tmp_path: Path, server: ReplayServer) -> None:
    for name, value in (
        ("url", server.url + "/v1/"),
        ("model", "my-model"),
        ("system", 'Be "brief"\nand kind.'),
        ("max-tokens", "7"),
        ("temperature", "0"),
    ):
        assert run_here(tmp_path, "config", "set", name, value).returncode == 0
    (tmp_path / "in.jsonl").write_text('"hi"\n')
    assert run_here(tmp_path, "ask", "hi", "--no-stream").returncode == 0
    assert run_here(tmp_path, "chat", stdin="hi\n").returncode == 0
    assert run_here(tmp_path, "batch", "in.jsonl", "out.jsonl").returncode == 0
    sent = bodies(server.requests)
    assert len(sent) == 3
    for body in sent:
        assert body["messages"][0] == {"role": "system", "content": 'Be "brief"\nand kind.'}
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("my-model", 7, 0)


def test_option_goes_before_environment_before_file(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    run_here(tmp_path, "config", "set", "max-tokens", "1")
    run_here(tmp_path, "config", "set", "url", nowhere)
    with ReplayServer([answering]) as server:
        ask = ("ask", "hi", "--no-stream")
        environment = {"TABBY_API_ENDPOINT": server.url, "TABBY_MAX_TOKENS": "2"}
        run_here(tmp_path, *ask, "--url", server.url)
        run_here(tmp_path, *ask, **environment)
        run_here(tmp_path, *ask, "--max-tokens", "3", **environment)
    assert [body["max_tokens"] for body in bodies(server.requests)] == [1, 2, 3]
    assert shown(tmp_path)["url"] == {"value": nowhere, "origin": str(config_path(tmp_path))}
    assert shown(tmp_path, TABBY_MAX_TOKENS="2")["max_tokens"] == {
        "value": 2,
        "origin": "TABBY_MAX_TOKENS",
    }
    failed = run_here(tmp_path, *ask)
    assert failed.returncode == 3
    assert f"The address is that of {config_path(tmp_path)}." in failed.stderr


def test_changing_one_setting_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    path = config_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('# mine\nurl = "http://a:1"  # the old one\n\ntemperature = 0.5\n')
    run_here(tmp_path, "config", "set", "url", "http://b:2")
    run_here(tmp_path, "config", "set", "model", "m")
    run_here(tmp_path, "config", "unset", "temperature")
    assert path.read_text() == '# mine\nurl = "http://b:2"  # the old one\n\nmodel = "m"\n'
    again = run_here(tmp_path, "config", "unset", "temperature")
    assert (again.returncode, again.stderr) == (0, "temperature was not set.\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("url = ", "cannot be read: Invalid value"),
        ("urll = 'http://a'", "there is no setting 'urll'; did you mean url?"),
        ("temperature = 99", "temperature must be a number from 0 to 10"),
        ("url = 5", "url must be a string"),
        ("url = 'ftp://x'", "not of the form http://host:port"),
    ],
)
def test_a_broken_file_is_told_with_its_name(tmp_path: Path, content: str, message: str) -> None:
    path = config_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    done = run_here(tmp_path, "ask", "hi")
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("temperature", "warm"), "temperature is a number, not 'warm'"),
        (("temperature", "99"), "temperature must be a number from 0 to 10"),
        (("url", "ftp://x"), "not of the form http://host:port"),
        (("url",), "tabbyapi config set url VALUE"),
        (("colour", "red"), "'colour' is not one of"),
        (("api-key", KEY), "stays in the shell's history"),
        (("api-key",), "no api-key was given"),
    ],
)
def test_what_cannot_be_set_is_a_usage_error(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    done = run_here(tmp_path, "config", "set", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert KEY not in done.stderr + files_of(tmp_path)


def test_a_setting_over_several_lines_is_left_to_its_writer(tmp_path: Path) -> None:
    path = config_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('system = """\nBe brief."""\n')
    assert "change it in" in run_here(tmp_path, "config", "set", "system", "x").stderr
    assert path.read_text() == 'system = """\nBe brief."""\n'


def test_a_key_goes_to_its_own_server_and_to_no_other(tmp_path: Path) -> None:
    with ReplayServer(plain("ok")) as mine, ReplayServer(plain("ok")) as other:
        run_here(tmp_path, "config", "set", "url", mine.url)
        done = run_here(tmp_path, "config", "set", "api-key", stdin=KEY + "\n")
        assert done.returncode == 0
        run_here(tmp_path, "ask", "hi", "--no-stream")
        run_here(tmp_path, "ask", "hi", "--no-stream", "--url", other.url)
        run_here(tmp_path, "ask", "hi", "--no-stream", TABBY_API_KEY="another")
    assert keys_sent(mine) == [KEY, "another"]
    assert keys_sent(other) == [None]


def test_a_kept_key_is_never_shown_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    set_ = run_here(tmp_path, "config", "set", "api-key", stdin=KEY)
    show = run_here(tmp_path, "config", "show")
    assert "api-key      set" in show.stdout
    assert "admin-key    -" in show.stdout
    path = config_path(tmp_path).with_name("credentials.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    as_json = json.dumps(shown(tmp_path))
    for text in (set_.stdout, set_.stderr, show.stdout, show.stderr, as_json, files_of(tmp_path)):
        assert KEY not in text
    assert run_here(tmp_path, "config", "unset", "api-key").returncode == 0
    assert KEY not in path.read_text()
    assert shown(tmp_path)["api_key"]["value"] is None


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_of_keys_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    run_here(tmp_path, "config", "set", "api-key", stdin=KEY)
    path = config_path(tmp_path).with_name("credentials.json")
    path.chmod(0o644)
    done = run_here(tmp_path, "ask", "hi", "--url", "http://localhost:5000")
    assert done.returncode == 2
    assert f"chmod 600 '{path}'" in done.stderr
    path.chmod(0o600)
    path.write_text('{"http://localhost:5000": {"api_key": 5}}')
    assert "is not a file of keys" in run_here(tmp_path, "config", "show").stderr


def test_a_key_is_kept_in_the_keyring_where_there_is_one(
    tmp_path: Path, keyring: dict[str, str]
) -> None:
    with ReplayServer(plain("ok")) as server:
        url = ("--url", server.url)
        done = run(tmp_path, "config", "set", "api-key", *url, stdin=KEY, **keyring)
        assert "is stored in the keyring" in done.stderr
        credentials = config_path(tmp_path).with_name("credentials.json").read_text()
        assert KEY not in credentials
        run(tmp_path, "ask", "hi", "--no-stream", *url, **keyring)
        locked = run(tmp_path, "ask", "hi", "--no-stream", *url, **keyring, FAKE_KEYRING_LOCKED="1")
        assert "does not give the key" in locked.stderr
        run(tmp_path, "config", "unset", "api-key", *url, **keyring)
    assert keys_sent(server) == [KEY, None]
    assert KEY not in Path(keyring["FAKE_KEYRING"]).read_text()


def test_a_keyring_that_takes_nothing_gives_way_to_the_file(
    tmp_path: Path, keyring: dict[str, str]
) -> None:
    environment = {**keyring, "FAKE_KEYRING_LOCKED": "1"}
    done = run(tmp_path, "config", "set", "api-key", stdin=KEY, **environment)
    assert "using a file instead" in done.stderr
    assert "credentials.json" in done.stderr
    assert KEY not in done.stderr


def test_at_a_terminal_a_key_is_asked_for_and_not_echoed(tmp_path: Path) -> None:
    process = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], "config", "set", "admin-key"],
        env=clean_environment(tmp_path),
        encoding="utf-8",
        timeout=60,
    )
    process.expect("admin-key of http://localhost:5000: ")
    process.sendline(KEY)
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 0
    assert KEY not in process.before
    assert shown(tmp_path)["admin_key"]["value"] == "set"


def test_keys_that_serve_made_up_are_found_on_this_machine(tmp_path: Path) -> None:
    with ReplayServer(streamed("ok")) as server:
        folder = tmp_path / ".local" / "share" / "py-tabbyapi"
        folder.mkdir(parents=True)
        (folder / "keys.json").write_text(json.dumps({"api_key": KEY, "admin_key": "admin"}))
        run_here(tmp_path, "ask", "hi", "--url", server.url)
    assert keys_sent(server) == [KEY]
