"""A server without keys answers programs of this machine, and no page of the web."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tabbyapi.local_server import LocalServer
from tabbyapi.server.http.origins import is_loopback

from .conftest import CHAT, HELLO, Raw

UNLOAD = "/v1/template/unload"  # a command without a body, which needs no preflight


@pytest.fixture(scope="module")
def open_server(random_model: Path) -> Iterator[Raw]:
    server = LocalServer(
        random_model,
        auth=False,
        threads=1,
        cors_origins=("http://friend.example",),
        allowed_hosts=("box.lan",),
    )
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://friend.example"},
        {"Origin": "http://friend.example.evil"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:5000", "Origin": "http://evil.example:5000"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::"},
        {"Host": "192.168.0.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("POST", UNLOAD), ("GET", "/v1/models")])
def test_a_page_of_the_web_is_refused(
    open_server: Raw, headers: dict[str, str], method: str, path: str
) -> None:
    answer = open_server(method, path, headers=headers)
    assert answer.status in (400, 403)
    if answer.status == 403:
        assert "asks for no key" in answer.json()["detail"]
    assert open_server.chat(max_tokens=1)["choices"], "the template is still there"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:5000"},
        {"Host": "LOCALHOST"},
        {"Host": "[::1]:5000"},
        {"Host": "127.1.2.3"},
        {"Host": "tabby.localhost"},
        {"Host": "box.lan:5000"},
        {"Host": "localhost:7", "Origin": "http://localhost:7"},
        {"Origin": "http://friend.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_programs_and_pages_that_were_let_in_are_answered(
    open_server: Raw, headers: dict[str, str]
) -> None:
    json = {"Content-Type": "application/json"}
    answer = open_server("POST", CHAT, {"messages": HELLO, "max_tokens": 1}, headers=headers | json)
    assert answer.status == 200


def test_a_preflight_is_answered_for_friends_alone(open_server: Raw) -> None:
    for origin, status in (("http://friend.example", 200), ("http://evil.example", 403)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert open_server("OPTIONS", CHAT, headers=headers).status == status


def test_a_server_with_keys_leaves_it_to_them(http: Raw) -> None:
    headers = {"Origin": "http://evil.example", "Host": "evil.example"}
    assert http("GET", "/health", headers=headers).status == 200
    assert http("GET", "/v1/models", headers=headers).status == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "a.localhost", "127.9.9.9"])
def test_names_of_loopback(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback(host + ".x")
