"""TLS: what cannot be trusted is refused, and broken connections are as without it."""

from __future__ import annotations

import shutil
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

import tabbyapi

from .certificates import make_certificate
from .conftest import Twin
from .replies import DONE, GOOD, STREAM_HEAD, framed, text_event
from .scripted import Peer, ScriptedServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def good(peer: Peer) -> None:
    while peer.request():
        peer.send(b"".join(GOOD.pieces))


def cut(peer: Peer) -> None:
    peer.request()
    peer.send(STREAM_HEAD)
    time.sleep(0.05)
    for piece in framed(text_event("half an "), text_event("answer")):
        peer.send(piece)
    time.sleep(0.05)


def test_a_certificate_that_cannot_be_trusted_is_a_connect_error(
    twin: Twin, serving: ssl.SSLContext
) -> None:
    with (
        ScriptedServer(good, tls=serving) as server,
        pytest.raises(tabbyapi.ConnectError, match=r"(?i)certificate") as caught,
    ):
        twin.create(server.url, retry=0)
    assert server.url in str(caught.value)
    assert not caught.value.sent


def test_plain_http_to_a_tls_server_is_a_request_error(twin: Twin, serving: ssl.SSLContext) -> None:
    with ScriptedServer(good, tls=serving) as server, pytest.raises(tabbyapi.RequestError):
        twin.create(server.url.replace("https:", "http:"), retry=0, timeout=10)


def test_a_trusted_server_is_served_and_its_cut_stream_gives_back_what_came(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # what OpenSSL trusts by default
    with ScriptedServer(good, tls=serving) as server:
        texts = ["Hello", "x" * 3_000_000, "Hello"]
        replies = twin.create_all(server.url, texts, timeout=20)
        assert [reply.text for reply in replies] == ["fine"] * 3
        assert server.connections == 1
    with ScriptedServer(cut, tls=serving) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.error.partial.text == "half an answer"


def test_a_deadline_holds_over_tls(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(peer: Peer) -> None:
        peer.request()
        peer.drip(b"HTTP/1.1 200 OK\r\nx-drop: 1")

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ScriptedServer(drip, tls=serving) as server:
        with pytest.raises(tabbyapi.RequestTimeout):
            twin.create(server.url, timeout=0.4)
        assert server.left.wait(5)


@pytest.mark.parametrize("how", ["file", "context", "nothing is checked"])
def test_a_certificate_can_be_trusted_by_this_client_alone(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, how: str
) -> None:
    verify: Any = {
        "file": certificate,
        "context": ssl.create_default_context(cafile=certificate),
        "nothing is checked": False,
    }[how]
    with ScriptedServer(good, tls=serving) as server:
        assert twin.create(server.url, times=2, verify=verify).text == "fine"
        assert server.connections == 1
    with ScriptedServer(cut, tls=serving) as server:
        outcome = twin.stream(server.url, verify=verify)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.error.partial.text == "half an answer"


def test_a_server_that_wants_a_certificate_gets_it(
    twin: Twin, certificate: Path, serving: ssl.SSLContext
) -> None:
    serving.verify_mode = ssl.CERT_REQUIRED
    serving.load_verify_locations(certificate)
    with ScriptedServer(good, tls=serving) as server:
        reply = twin.create(server.url, verify=certificate, cert=(certificate, certificate))
        assert reply.text == "fine"
        with pytest.raises(tabbyapi.RequestError):
            twin.create(server.url, verify=certificate, retry=0)


def test_a_wrong_certificate_is_told_with_advice_on_certificates(
    twin: Twin, serving: ssl.SSLContext
) -> None:
    with (
        ScriptedServer(good, tls=serving) as server,
        pytest.raises(tabbyapi.ConnectError, match="certificate is not trusted") as caught,
    ):
        twin.create(server.url, retry=0)
    assert "verify=" in str(caught.value)
    assert "tabbyapi serve" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"verify": "/no/such/file.pem"}, "verify"),
        ({"verify": __file__}, "verify"),
        ({"verify": 5}, "verify"),
        ({"cert": "/no/such/file.pem"}, "cert"),
        ({"cert": (1, 2, 3, 4)}, "cert"),
        ({"cert": "x", "verify": ssl.create_default_context()}, "cert"),
    ],
)
@pytest.mark.parametrize("url", ["https://tabby.example", "http://tabby.example"])
def test_what_cannot_be_used_for_tls_is_refused_when_the_client_is_made(
    options: dict[str, Any], field: str, url: str
) -> None:
    for kind in (tabbyapi.Client, tabbyapi.AsyncClient):
        with pytest.raises(tabbyapi.ValidationError) as caught:
            kind(url, **options)
        assert caught.value.field == field


def test_done_is_done_over_tls(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(peer: Peer) -> None:
        while peer.request():
            peer.send(STREAM_HEAD + b"".join(framed(text_event("a"), DONE)) + b"0\r\n\r\n")

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ScriptedServer(whole, tls=serving) as server:
        outcome = twin.stream(server.url, times=3)
        assert outcome.error is None
        assert outcome.response.text == "a"
        assert server.connections == 1


def test_a_long_stream_over_tls_is_whole(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"word{n} " for n in range(20_000)]

    def talk(peer: Peer) -> None:
        peer.request()
        events = framed(*map(text_event, words), DONE)
        peer.send(STREAM_HEAD + b"".join(events) + b"0\r\n\r\n")

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ScriptedServer(talk, tls=serving) as server:
        outcome = twin.stream(server.url)
    assert outcome.error is None
    assert outcome.texts == words


def test_an_answer_before_the_request_is_sent_is_the_answer_over_tls(
    twin: Twin, certificate: Path, serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"detail": "the body is too large"}'
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: %d\r\n" % len(body)

    def refuse(peer: Peer) -> None:
        peer.head()
        peer.send(answer + b"content-type: application/json\r\n\r\n" + body)
        peer.stop.wait(1)  # open, and reading nothing

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        ScriptedServer(refuse, tls=serving) as server,
        pytest.raises(tabbyapi.InvalidRequestError, match="too large"),
    ):
        twin.create(server.url, text="x" * 30_000_000, timeout=20)
