"""What a caller gets when the network or the server misbehaves."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi

from .conftest import KEY, Twin
from .replies import ANSWER, GOOD, free_port, quick

# ------------------------------------------------------------------------- connecting


def test_a_refused_connection_tells_the_address_and_what_to_do(twin: Twin) -> None:
    port = free_port()
    with pytest.raises(tabbyapi.ConnectError) as caught:
        twin.create(f"http://127.0.0.1:{port}", retry=quick())
    error = caught.value
    assert isinstance(error, ConnectionError)
    assert error.code == "request_error"
    assert error.status_code is None
    assert not error.sent
    assert f"http://127.0.0.1:{port}" in str(error)
    assert "refused" in str(error)
    assert "tabbyapi serve" in str(error)
    assert error.__cause__ is None


def test_a_host_that_does_not_exist_is_a_connect_error(twin: Twin) -> None:
    with pytest.raises(tabbyapi.ConnectError, match=r"no-such-host\.invalid"):
        twin.create("http://no-such-host.invalid:5000", retry=0)


def test_a_host_of_which_one_address_is_dead_is_reached_at_the_other(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def found(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in ("tabby.test", b"tabby.test"):
            return real(host, port, *args, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")  # where the first listens to nothing
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with ReplayServer(GOOD) as server:
        url = server.url.replace("127.0.0.1", "tabby.test")
        assert twin.create(url, times=2).text == "fine"
    assert {request.headers["host"] for request in server.requests} == {url.removeprefix("http://")}
    with pytest.raises(tabbyapi.ConnectError, match="refused"):
        twin.create(f"http://tabby.test:{free_port()}", retry=0)


def test_tls_against_a_plain_server_is_a_connect_error(twin: Twin) -> None:
    with ReplayServer(GOOD) as server, pytest.raises(tabbyapi.RequestError) as caught:
        twin.create(
            server.url.replace("http:", "https:"), retry=0, timeout=tabbyapi.Timeout(connect=0.5)
        )
    assert "0x" not in str(caught.value)


# ------------------------------------------------------------------- before the answer


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_connection_lost_before_the_answer_is_tried_again(twin: Twin, then: Any) -> None:
    with ReplayServer([Reply([], then), Reply([], then), GOOD]) as server:
        assert twin.create(server.url, retry=quick()).text == "fine"
    assert len(server.requests) == 3
    assert len({request.body for request in server.requests}) == 1


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_connection_that_is_always_lost_is_reported(twin: Twin, then: Any) -> None:
    with (
        ReplayServer(Reply([], then)) as server,
        pytest.raises(tabbyapi.RequestError, match="before any answer") as caught,
    ):
        twin.create(server.url, retry=quick(1))
    assert not caught.value.answered
    assert len(server.requests) == 2


def test_a_kept_connection_closed_by_the_server_costs_nothing(twin: Twin) -> None:
    with ReplayServer(json_reply(200, ANSWER, then="close")) as server:
        assert twin.create(server.url, times=3, retry=quick()).text == "fine"
    assert len(server.requests) == 3


def test_one_connection_serves_request_after_request(twin: Twin) -> None:
    with ReplayServer(GOOD) as server:
        twin.create(server.url, times=3)
    assert {request.connection for request in server.requests} == {0}


@pytest.mark.parametrize("status", [429, 502, 504])
def test_passing_statuses_are_tried_again(twin: Twin, status: int) -> None:
    with ReplayServer([json_reply(status, {"detail": "busy"}), GOOD]) as server:
        assert twin.create(server.url, retry=quick()).text == "fine"
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500, 503])
def test_lasting_statuses_are_not_tried_again(twin: Twin, status: int) -> None:
    with (
        ReplayServer([json_reply(status, {"detail": "no"}), GOOD]) as server,
        pytest.raises(tabbyapi.APIError) as caught,
    ):
        twin.create(server.url, retry=quick())
    assert caught.value.status_code == status
    assert len(server.requests) == 1


def test_retry_after_is_told_and_honoured(twin: Twin) -> None:
    busy = json_reply(
        429, {"detail": "busy"}, "retry-after: 0.01", "content-type: application/json"
    )
    with ReplayServer([busy, GOOD]) as server:
        # With a base delay of a minute, only Retry-After explains that this ends.
        policy = tabbyapi.RetryPolicy(max_retries=1, base_delay=60, max_delay=60)
        assert twin.create(server.url, retry=policy).text == "fine"
    long = json_reply(
        429, {"detail": "busy"}, "retry-after: 3600", "content-type: application/json"
    )
    with ReplayServer(long) as server, pytest.raises(tabbyapi.RateLimitError) as caught:
        twin.create(server.url)
    assert caught.value.retry_after == 3600
    assert caught.value.code == "rate_limit_exceeded"
    assert len(server.requests) == 1


def test_a_policy_of_ones_own_decides(twin: Twin) -> None:
    class Thrice:
        def delay(self, error: tabbyapi.TabbyError, attempt: int) -> float | None:
            return 0.0 if attempt < 3 else None

    with (
        ReplayServer(
            json_reply(500, b"Internal Server Error", "content-type: text/plain")
        ) as server,
        pytest.raises(tabbyapi.ServerError),
    ):
        twin.create(server.url, retry=Thrice())
    assert len(server.requests) == 3


# --------------------------------------------------------------------------- answers


def test_an_answer_cut_short_is_an_error_and_not_tried_again(twin: Twin) -> None:
    whole = b"".join(GOOD.pieces)
    with (
        ReplayServer(Reply([whole[:-10]], "close")) as server,
        pytest.raises(tabbyapi.RequestError, match="middle of the answer") as caught,
    ):
        twin.create(server.url, retry=quick())
    assert caught.value.answered
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html><title>Router login</title></html>", "text/html", "an HTML page"),
        (b"", "application/json", "an empty body"),
        (b"[1, 2", "application/json", "application/json"),
        (b'{"choices": 5}', "application/json", "application/json"),
        (b'"\xff\xfe"', "application/json", "application/json"),
        (b"hello", "text/plain", "text/plain"),
    ],
)
@pytest.mark.parametrize("verb", ["create", "stream"])
def test_an_answer_of_another_kind_of_server_is_described(
    twin: Twin, verb: str, body: bytes, kind: str, said: str
) -> None:
    with ReplayServer(json_reply(200, body, f"content-type: {kind}")) as server:
        if verb == "create":
            with pytest.raises(tabbyapi.RequestError) as caught:
                twin.create(server.url)
            error: Any = caught.value
        else:
            error = twin.stream(server.url).error
    assert isinstance(error, tabbyapi.RequestError)
    assert said in str(error)
    assert "TabbyAPI server" in str(error)


def test_an_error_page_of_a_proxy_is_not_quoted_as_a_whole(twin: Twin) -> None:
    page = b"<html><body>" + b"<p>Bad gateway</p>" * 1000
    with (
        ReplayServer(json_reply(502, page, "content-type: text/html")) as server,
        pytest.raises(tabbyapi.ServerError, match="an HTML page") as caught,
    ):
        twin.create(server.url, retry=0)
    assert len(str(caught.value)) < 500
    assert len(caught.value.body) == 2000


def test_a_redirect_is_not_followed(twin: Twin) -> None:
    with ReplayServer(GOOD) as other:
        there = json_reply(307, b"", f"location: {other.url}/v1/chat/completions")
        with (
            ReplayServer(there) as server,
            pytest.raises(tabbyapi.APIError, match="redirects") as caught,
        ):
            twin.create(server.url)
    assert caught.value.status_code == 307
    assert other.requests == []
    assert other.url in str(caught.value)


def test_interim_answers_are_passed_over(twin: Twin) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    with ReplayServer(Reply([early, *GOOD.pieces])) as server:
        assert twin.create(server.url).text == "fine"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: 1\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 200_000,
    ],
    ids=["bad chunk length", "another protocol", "endless headers", "an endless header"],
)
def test_broken_http_is_an_error(twin: Twin, head: bytes) -> None:
    with ReplayServer(Reply([head], "close")) as server, pytest.raises(tabbyapi.RequestError):
        twin.create(server.url, retry=0)


# ------------------------------------------------------------------------------- keys


def test_no_error_tells_the_key(twin: Twin) -> None:
    replies = [
        json_reply(401, {"detail": "Invalid API key"}),
        json_reply(500, b"Internal Server Error", "content-type: text/plain"),
        Reply([], "reset"),
        json_reply(200, b"<html>"),
    ]
    for reply in replies:
        with ReplayServer(reply) as server:
            with pytest.raises(tabbyapi.TabbyError) as caught:
                twin.create(server.url, retry=0)
            assert KEY not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
        assert server.requests[0].headers["x-api-key"] == KEY
