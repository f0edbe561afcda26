"""Proxies: the environment's and the client's own, asked for whole addresses or for tunnels."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.support.replay import ReplayServer

import tabbyapi
from tabbyapi._transport.proxy import is_loopback, proxy_for

from .certificates import make_certificate
from .conftest import Twin
from .proxies import LOGIN, PLAIN_LOGIN, proxy
from .replies import GOOD, free_port
from .scripted import Peer, ScriptedServer

VARIABLES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def good(peer: Peer) -> None:
    while peer.request():
        peer.send(b"".join(GOOD.pieces))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_plain_server_is_asked_for_through_the_proxy(
    twin: Twin, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        while request := peer.request():
            heads.append(request)
            peer.send(b"".join(GOOD.pieces))

    with ScriptedServer(script) as server:
        address = server.url.replace("http://", f"http://{LOGIN}@")
        monkeypatch.setenv(variable, address)
        assert twin.create("http://tabby.invalid:5000", times=2).text == "fine"
    assert server.connections == 1
    for head in heads:
        assert head.startswith(b"POST http://tabby.invalid:5000/v1/chat/completions HTTP/1.1\r\n")
        assert b"\r\nHost: tabby.invalid:5000\r\n" in head
        assert b"\r\nProxy-Authorization: Basic dXNAZXI6cDpzcw==\r\n" in head


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4"])
def test_real_proxies_carry_requests_and_streams_with_a_login(twin: Twin, scheme: str) -> None:
    login = "" if scheme == "socks4" else LOGIN  # which knows no passwords
    plain = PLAIN_LOGIN if login else ""
    with ReplayServer(GOOD) as server, proxy(scheme.rstrip("h"), plain) as (port, passed):
        at = f"{login}@" if login else ""
        address = f"{scheme}://{at}127.0.0.1:{port}"
        if login:  # first, because this proxy remembers who has logged in
            with pytest.raises(tabbyapi.ConnectError, match="through the proxy") as caught:
                twin.create(server.url, proxy=f"{scheme}://127.0.0.1:{port}", retry=0)
            assert server.url not in str(caught.value)
        assert twin.create(server.url, proxy=address, retry=0).text == "fine"
        assert twin.stream(server.url, proxy=address, retry=0).response.text == "fine"
    assert len([line for line in passed if server.url[7:] in line]) >= 2


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_an_https_server_is_reached_through_a_tunnel(
    twin: Twin, tmp_path: Path, scheme: str
) -> None:
    certificate = make_certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    with (
        ScriptedServer(good, tls=serving) as server,
        proxy(scheme, PLAIN_LOGIN) as (port, _),
    ):
        address = f"{scheme}://{LOGIN}@127.0.0.1:{port}"
        reply = twin.create(server.url, times=2, proxy=address, verify=certificate)
        assert reply.text == "fine"
        assert server.connections == 1
        with pytest.raises(tabbyapi.ConnectError, match="certificate is not trusted") as caught:
            twin.create(server.url, proxy=address, retry=0)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "status 403"),
        (b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\n\r\n", "asks for a login"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0"),
        (b"", "disconnected"),
    ],
)
def test_a_tunnel_that_the_proxy_refuses_is_the_proxys_failure(
    twin: Twin, monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str
) -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.head())
        peer.send(answer)

    with ScriptedServer(script) as server:
        monkeypatch.setenv("https_proxy", server.url.replace("//", f"//{LOGIN}@"))
        with pytest.raises(tabbyapi.ConnectError, match=said) as caught:
            twin.create("https://tabby.invalid", retry=0)
    assert heads[0].startswith(b"CONNECT tabby.invalid:443 HTTP/1.")
    assert b"secret-key" not in heads[0]
    assert b"Proxy-Authorization: Basic" in heads[0]
    message = str(caught.value)
    assert server.url in message
    assert "https_proxy" in message
    assert "tabby.invalid" not in message
    assert "us%40er" not in message


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_is_not_there_is_named_with_its_variable(
    twin: Twin, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    address = f"{scheme}://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(tabbyapi.ConnectError) as caught:
        twin.create("http://tabby.invalid:5000", retry=0)
    assert f"{address} (from ALL_PROXY)" in str(caught.value)
    assert "tabby.invalid" not in str(caught.value)


def test_a_plain_proxys_demand_for_a_login_is_no_answer_of_the_server(twin: Twin) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\n\r\n")

    with (
        ScriptedServer(script) as server,
        pytest.raises(tabbyapi.ConnectError, match="asks for a login"),
    ):
        twin.create("http://tabby.invalid:5000", proxy=server.url, retry=0)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:3128", "ftp://proxy:1", "http://", "http://h:0", "http://h:x", 5, ""]
)
def test_an_address_that_is_no_proxys_is_refused_when_the_client_is_made(
    monkeypatch: pytest.MonkeyPatch, address: Any
) -> None:
    for kind in (tabbyapi.Client, tabbyapi.AsyncClient):
        with pytest.raises(tabbyapi.ValidationError, match="proxy") as caught:
            kind("http://tabby.invalid", proxy=address)
        assert caught.value.field == "proxy"
        if isinstance(address, str) and address:
            monkeypatch.setenv("HTTP_PROXY", address)
            with pytest.raises(tabbyapi.ValidationError, match="HTTP_PROXY"):
                kind("http://tabby.invalid")
            kind("http://tabby.invalid", proxy=False)


EXCEPTED = [
    ("http://tabby.example", "tabby.example"),
    ("http://tabby.example", "*"),
    ("http://tabby.example", "other.example , TABBY.example."),
    ("http://a.tabby.example", "tabby.example"),
    ("http://a.tabby.example", ".tabby.example"),
    ("http://a.tabby.example", "*.tabby.example"),
    ("http://tabby.example:5000", "tabby.example:5000"),
    ("https://tabby.example", "tabby.example:443"),
    ("http://10.1.2.3", "10.0.0.0/8"),
    ("http://10.1.2.3:81", "10.1.2.3"),
    ("http://[fd00::1]", "[fd00::1]"),
    ("http://[fd00::1]:5000", "[fd00::1]:5000"),
    ("http://[fd00::1]", "fd00:0:0::1"),
    ("http://[fd00::1]", "fd00::/8"),
    ("http://[::ffff:10.1.2.3]", "10.0.0.0/8"),
]
NOT_EXCEPTED = [
    ("http://tabby.example", ""),
    ("http://tabby.example", "example.com"),
    ("http://nottabby.example", "tabby.example"),
    ("http://tabby.example:5000", "tabby.example:80"),
    ("http://11.1.2.3", "10.0.0.0/8"),
    ("http://10.1.2.30", "10.1.2.3"),
    ("http://[fd00::2]", "[fd00::1]"),
]


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_takes_what_other_programs_take(name: str) -> None:
    environ = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"}
    for url, listed in EXCEPTED:
        assert proxy_for(url, None, {**environ, name: listed}) is None, (url, listed)
    for url, listed in NOT_EXCEPTED:
        assert proxy_for(url, None, {**environ, name: listed}) is not None, (url, listed)


LOOPBACK = """
    localhost LOCALHOST. a.localhost 127.0.0.1 127.1 127.255.0.9 0.0.0.0 2130706433 0x7f.1
    [::] [::1] [::ffff:127.0.0.1] [0:0:0:0:0:0:0:1]
"""


@pytest.mark.parametrize("host", LOOPBACK.split())
def test_this_machine_is_never_reached_through_the_environments_proxy(host: str) -> None:
    assert proxy_for(f"http://{host}:5000", None, {"http_proxy": "http://p:1"}) is None


def test_a_name_that_only_begins_like_this_machines_is_another() -> None:
    for host in ("127.0.0.1.example", "localhost.example", "10.0.0.1", "128.0.0.1", "", "::2"):
        assert not is_loopback(host)


def test_a_visitors_header_is_not_taken_for_a_proxy_in_a_cgi_program() -> None:
    environ = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert proxy_for("http://tabby.example", None, environ) is None


def test_socks_without_its_package_names_the_extra(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("python_socks", "python_socks.sync", "python_socks.async_.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tabbyapi.ConnectError, match=r"py-tabbyapi\[socks\]"):
        twin.create("http://tabby.invalid", proxy="socks5://127.0.0.1:9", retry=0)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
@pytest.mark.parametrize("how", ["uds=", "three slashes", "encoded"])
def test_a_server_on_a_unix_socket_is_reached_by_its_path(
    twin: Twin, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "tabby.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with ReplayServer(GOOD, listener=listener) as server:
        if how == "uds=":
            reply = twin.create("http://tabby:5000", times=2, uds=path)
        elif how == "three slashes":
            reply = twin.create(f"http+unix://{path}", times=2)
        else:
            reply = twin.create(f"http+unix://{str(path).replace('/', '%2F')}/v1", times=2)
    assert reply.text == "fine"
    assert server.connections == 1
    with pytest.raises(tabbyapi.ConnectError, match=r"the Unix socket .*tabby\.sock"):
        twin.create("http://tabby:5000", uds=tmp_path / "no" / "tabby.sock", retry=0)
