"""Settings have one name, type and meaning: in Python, in editors and on the command line."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner

import tabbyapi
from tabbyapi.cli.serve import serve
from tabbyapi.local_server import LocalServer, ServerSettings
from tabbyapi.server.settings import Settings


def shown(annotation: Any) -> set[Any]:
    """The alternatives of a type; a path may be given as a string as well."""
    alternatives = set(typing.get_args(annotation)) or {annotation}
    if typing.get_origin(annotation) is typing.Literal or typing.get_origin(annotation) is tuple:
        return {annotation}
    return alternatives - {str} if Path in alternatives else alternatives


def test_editors_complete_every_setting_with_its_type() -> None:
    offered = typing.get_type_hints(ServerSettings)
    settings = typing.get_type_hints(Settings)
    settings.pop("model")  # a parameter of its own
    assert list(offered) == [field.name for field in fields(Settings) if field.name != "model"]
    for name, annotation in settings.items():
        assert shown(offered[name]) == shown(annotation), name


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ctx", "n_ctx"),
        ("no_auth", "auth"),
        ("api_key", "api_keys"),
        ("tool_formats", "tool_format"),
    ],
)
def test_a_wrong_setting_is_refused_at_once_and_the_right_one_named(given: str, meant: str) -> None:
    settings: dict[str, Any] = {given: 1}
    with pytest.raises(tabbyapi.ValidationError, match=rf"{given}.*{meant}\?") as caught:
        LocalServer("model.gguf", **settings)
    assert caught.value.field == given


def test_every_setting_is_an_option_of_serve_and_explained() -> None:
    names = {parameter.name for parameter in serve.params}
    settings = {field.name for field in fields(Settings)} - {"auth"}
    assert settings <= names
    assert "no_auth" in names
    assert all(getattr(parameter, "help", "") for parameter in serve.params)
    found = CliRunner().invoke(serve, ["--tool-formats", "none"])
    assert "--tool-format" in found.output


def run_serve(model: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tabbyapi", "serve", "--model", str(model), "--no-auth"]
    return subprocess.Popen(
        [*command, "--threads", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_serve_says_where_it_listens_logs_requests_and_says_that_it_stopped(
    random_model: Path,
) -> None:
    process = run_serve(random_model, "--port", "0", "--parity")
    assert process.stdout
    url = ""
    while not url:
        line = process.stdout.readline()
        assert line, process.communicate()
        url = line.removeprefix("Listening on ").strip() if line.startswith("Listening") else ""
    assert f"export TABBY_API_ENDPOINT={url}" in process.stdout.readline()
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    assert urllib3.request("POST", url + "/v1/chat/completions", json=body).json()["usage"] is None
    process.terminate()
    said, logged = process.communicate(timeout=30)
    assert "Stopped." in said
    assert re.search(r"INFO: POST /v1/chat/completions 200 \d+ ms 3 tokens", logged)
    assert "RuntimeWarning" not in logged


def test_a_port_that_was_chosen_and_is_taken_is_an_error(random_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = run_serve(random_model, "--port", str(port))
        _, logged = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in logged
    assert "Traceback" not in logged
