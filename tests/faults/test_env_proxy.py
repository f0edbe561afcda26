"""The proxy that the environment names: asked for the whole address, or for a tunnel."""

from __future__ import annotations

import pytest

import tabbyapi

from .conftest import Twin
from .scripted import Peer, ScriptedServer
from .test_network import GOOD


def test_a_plain_server_is_asked_for_through_the_proxy(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        while request := peer.request():
            heads.append(request)
            peer.send(b"".join(GOOD.pieces))

    with ScriptedServer(script) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert twin.create("http://tabby.invalid:5000", times=2).text == "fine"
    assert proxy.connections == 1
    for head in heads:
        assert head.startswith(b"POST http://tabby.invalid:5000/v1/chat/completions HTTP/1.1\r\n")
        assert b"\r\nhost: tabby.invalid:5000\r\n" in head.lower()


def test_a_tunnel_that_the_proxy_refuses_is_a_connect_error(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.head())
        peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    with ScriptedServer(script) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(tabbyapi.ConnectError):
            twin.create("https://tabby.invalid", retry=0)
    assert heads[0].startswith(b"CONNECT tabby.invalid:443 HTTP/1.")
    assert b"secret-key" not in heads[0]
