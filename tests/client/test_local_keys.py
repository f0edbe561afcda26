"""Keys that `tabbyapi serve` made up are found by clients on the same machine, and only there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tabbyapi
from tabbyapi._client.local_keys import with_local_keys
from tabbyapi.testing import json_reply, replay_server

HERE = "http://127.0.0.1:5000"
Keep = Callable[[str], None]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Writes the file of keys, in a data folder of this test."""
    monkeypatch.setattr("tabbyapi._client.local_keys.data_folder", lambda: tmp_path)

    def write(text: str) -> None:
        (tmp_path / "keys.json").write_text(text)

    return write


@pytest.fixture
def kept(keep: Keep) -> None:
    keep(json.dumps({"api_key": "made-up", "admin_key": "made-up-admin"}))


@pytest.mark.usefixtures("kept")
def test_a_client_without_keys_uses_those_that_serve_made_up() -> None:
    loras = json_reply(200, {"object": "list", "data": []})
    replies = (loras, loras, json_reply(200, None))
    with replay_server(*replies) as server, tabbyapi.Client(server.url) as client:
        client.lora.active()
        client.lora.list()
        client.lora.unload()
    sent = [
        request.headers.get("x-api-key") or request.headers.get("x-admin-key")
        for request in server.requests
    ]
    assert sent == ["made-up", "made-up-admin", "made-up-admin"]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("url", "api", "admin", "used"),
    [
        (HERE, None, None, ("made-up", "made-up-admin")),
        ("http://localhost:8080", None, None, ("made-up", "made-up-admin")),
        ("http://[::1]:8080", None, None, ("made-up", "made-up-admin")),
        (HERE, "made-up", None, ("made-up", "made-up-admin")),
        (HERE, None, "made-up-admin", ("made-up", "made-up-admin")),
        (HERE, "another", None, ("another", None)),
        (HERE, None, "another", (None, "another")),
        (HERE, "another", "admin", ("another", "admin")),
        ("http://192.0.2.1:5000", None, None, (None, None)),
        ("https://localhost.example.com", None, None, (None, None)),
    ],
)
def test_made_up_keys_join_no_other_key_and_no_other_machine(
    url: str, api: str | None, admin: str | None, used: tuple[str | None, str | None]
) -> None:
    assert with_local_keys(url, api, admin) == used


@pytest.mark.usefixtures("kept")
def test_a_bearer_token_is_joined_by_no_made_up_key() -> None:
    answer = json_reply(200, {"object": "list", "data": []})
    with (
        replay_server(answer) as server,
        tabbyapi.Client(server.url, bearer_token="token") as client,
    ):
        client.lora.active()
    assert server.requests[0].headers.get("authorization") == "Bearer token"
    assert "x-api-key" not in server.requests[0].headers


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '{"api_key": 5, "admin_key": "a"}', '{"api_key": "a"}', "[" * 9999]
)
def test_a_broken_file_of_keys_is_as_good_as_none(keep: Keep, text: str) -> None:
    keep(text)
    assert with_local_keys(HERE, None, None) == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="moves the data folder by XDG_DATA_HOME")
def test_a_program_without_keys_works_against_serve(tmp_path: Path, tiny_model: Path) -> None:
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    for name in ("TABBY_API_KEY", "TABBY_ADMIN_KEY"):
        environment.pop(name, None)
    command = [sys.executable, "-u", "-m", "tabbyapi", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--model", str(tiny_model)], stdout=subprocess.PIPE, env=environment, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = next(
                word
                for line in server.stdout
                for word in line.split()
                if word.startswith("http://")
            )
            program = (
                "import tabbyapi\n"
                "with tabbyapi.Client() as client:\n"
                "    print(client.auth.permission())\n"
                "    client.chat.create([tabbyapi.user('hi')], max_tokens=2)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", program],
                env={**environment, "TABBY_API_ENDPOINT": url.rstrip(".,")},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("api", "admin")
