"""Who may use the page, over plain HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import urllib3

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")

from cli.scripted import run
from support.replay import ReplayServer
from web.conftest import PageServer, StartPage
from web.scripted import script

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def api() -> Iterator[ReplayServer]:
    with ReplayServer([script]) as server:
        yield server


@pytest.fixture(scope="module")
def page(start_page: StartPage, api: ReplayServer) -> PageServer:
    return start_page(api.url)


@pytest.fixture(scope="module")
def locked(start_page: StartPage, api: ReplayServer) -> PageServer:
    return start_page(api.url, TABBY_WEB_PASSWORD=PASSWORD)


def get(
    page: PageServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> urllib3.BaseHTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.request(method, page.url + path, body=body, headers=named, redirect=False)


def test_the_page_answers_to_this_machine_and_to_addresses_only(page: PageServer) -> None:
    assert get(page, "/server").status == 200
    for host in ("localhost:5050", "127.0.0.1", "192.168.1.7:80", "[::1]:5050"):
        assert get(page, "/server", Host=host).status == 200
    for host in (
        "evil.invalid",
        "127.0.0.1.evil.invalid",
        "localhost.evil.invalid",
        "",
        "[",
        "a b",
    ):
        assert get(page, "/server", Host=host).status in (400, 421), host


def test_a_name_can_be_allowed(start_page: StartPage, api: ReplayServer) -> None:
    page = start_page(api.url, "--allowed-host", "chat.example")
    assert get(page, "/server", Host="chat.example").status == 200


def test_other_sites_can_neither_change_anything_nor_open_a_socket(page: PageServer) -> None:
    socket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    host = page.url.removeprefix("http://")
    for origin in ("http://evil.invalid", "null", "http://127.0.0.1:1", f"http://{host}.evil"):
        assert get(page, path, **socket, Origin=origin).status == 403, origin
        assert get(page, "/x", "POST", Origin=origin).status == 403, origin
    assert get(page, "/x", "POST", Sec_Fetch_Site="cross-site").status == 403
    assert get(page, "/x", "POST", Origin=page.url).status in (404, 405)


def test_every_answer_has_a_policy_and_only_the_pages_scripts_a_nonce(page: PageServer) -> None:
    for path in ("/server", "/chat/x", "/static/page.css", "/nothing"):
        answer = get(page, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        script = re.search("script-src ([^;]+)", policy)
        assert script is not None
        assert "unsafe-inline" not in script[1]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    first, second = get(page, "/server"), get(page, "/server")
    nonces = [re.findall(r'nonce="([^"]+)"', answer.data.decode()) for answer in (first, second)]
    assert len(set(nonces[0])) == len(set(nonces[1])) == 1
    assert nonces[0] != nonces[1]
    for tag in re.findall(r"<script[^>]*>", first.data.decode()):
        assert "nonce=" in tag or "src=" in tag, tag


def test_pages_hold_no_key_of_the_server(start_page: StartPage, api: ReplayServer) -> None:
    page = start_page(api.url, TABBY_API_KEY="secret-api", TABBY_ADMIN_KEY="secret-admin")
    for path in ("/server", "/chat/x"):
        text = get(page, path).data.decode()
        assert "secret" not in text
        assert "a-key" not in text


def test_without_the_password_nothing_is_shown(locked: PageServer) -> None:
    for path in ("/", "/chat/x", "/server", "/static/page.js", "/_nicegui/auto_index"):
        answer = get(locked, path, Accept="text/html")
        assert answer.status == 303, path
        assert answer.headers["Location"] == "/login"
    assert get(locked, "/chat/x/export.json").status == 401
    assert get(locked, "/_nicegui_ws/socket.io/?EIO=4&transport=polling").status == 401
    assert get(locked, "/login").status == 200


def log_in(page: PageServer, password: str) -> urllib3.BaseHTTPResponse:
    body = f"password={password.replace(' ', '+')}".encode()
    return get(page, "/login", "POST", body, Origin=page.url)


def test_the_right_password_opens_the_page_and_a_forged_cookie_does_not(locked: PageServer) -> None:
    answer = log_in(locked, PASSWORD)
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert PASSWORD not in cookie
    session = cookie.split(";")[0]
    assert get(locked, "/server", Cookie=session).status == 200
    for forged in (
        session[:-1] + ("A" if session[-1] != "A" else "B"),
        session.split("=")[0] + "=in",
    ):
        assert get(locked, "/server", Cookie=forged).status == 401


def test_a_wrong_password_is_told_and_delayed(locked: PageServer) -> None:
    answer = log_in(locked, "wrong")
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    assert b'role="alert"' in answer.data
    assert get(locked, "/login", "POST", b"x" * 10_000, Origin=locked.url).status == 401


def test_other_machines_are_let_in_only_with_a_password(page: PageServer) -> None:
    done = run(page.home, "web", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "TABBY_WEB_PASSWORD" in done.stderr


def test_a_taken_port_is_told(page: PageServer) -> None:
    port = page.url.rsplit(":", 1)[1]
    done = run(page.home, "web", "--port", port, "--no-browser")
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
