"""What a caller gets when the network or the server misbehaves."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.support.replay import ReplayServer, Reply, json_reply

import tabbyapi

from .conftest import KEY, Twin

ANSWER = {
    "id": "cmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "eos_reason": "stop_token",
            "message": {"role": "assistant", "content": "fine"},
        }
    ],
    "usage": None,
}
GOOD = json_reply(200, ANSWER)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
DONE = b"data: [DONE]\r\n\r\n"


def framed(*payloads: bytes) -> list[bytes]:
    """HTTP chunks."""
    return [b"%x\r\n%s\r\n" % (len(p), p) for p in payloads]


def text_event(text: str) -> bytes:
    return (
        b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, '
        b'"model": "m", "choices": [{"index": 0, "delta": {"content": "%s"}, '
        b'"finish_reason": null}]}\r\n\r\n' % text.encode()
    )


def streamed(*payloads: bytes, end: bool = True, **reply: Any) -> Reply:
    pieces = [STREAM_HEAD, *framed(*payloads)]
    if end:
        pieces.append(b"0\r\n\r\n")
    return Reply(pieces, **reply)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def quick(retries: int = 2) -> tabbyapi.RetryPolicy:
    return tabbyapi.RetryPolicy(max_retries=retries, base_delay=0.001)


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


# --------------------------------------------------------------------------- streams


def test_a_stream_leaves_its_connection_for_the_next_request(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), text_event("b"), DONE)) as server:
        outcome = twin.stream(server.url, times=3)
    assert outcome.error is None
    assert outcome.texts == ["a", "b"]
    assert {request.connection for request in server.requests} == {0}


def test_chunks_arrive_although_others_share_their_http_chunk(twin: Twin) -> None:
    both = text_event("a") + text_event("b") + b": ping - 1\r\n\r\n" + text_event("c") + DONE
    with ReplayServer(streamed(both)) as server:
        assert twin.stream(server.url).texts == ["a", "b", "c"]


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_cut_stream_gives_back_what_had_arrived(twin: Twin, then: Any) -> None:
    reply = streamed(text_event("half an "), text_event("answer"), end=False, then=then, pause=0.01)
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.texts == ["half an ", "answer"]
    assert outcome.error.partial.text == "half an answer"
    assert len(server.requests) == 1


def test_a_stream_that_ends_without_done_is_not_complete(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("almost"))) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert "[DONE]" in str(outcome.error)
    assert outcome.error.partial.text == "almost"


@pytest.mark.parametrize(
    "event",
    [b"data: {not json}\r\n\r\n", b'data: {"choices": 7}\r\n\r\n', b'data: "\xff"\r\n\r\n'],
    ids=["no JSON", "another shape", "bad UTF-8"],
)
def test_an_event_that_is_no_chunk_ends_the_stream_with_what_came_before(
    twin: Twin, event: bytes
) -> None:
    with ReplayServer(streamed(text_event("good"), event, text_event("bad"), DONE)) as server:
        outcome = twin.stream(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamError)
    assert outcome.texts == ["good"]
    assert outcome.error.partial.text == "good"


def test_what_follows_done_is_ignored(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), DONE, text_event("b"))) as server:
        outcome = twin.stream(server.url, times=2)
    assert outcome.error is None
    assert outcome.texts == ["a"]


def test_a_stream_that_stays_open_after_done_is_complete_all_the_same(twin: Twin) -> None:
    with ReplayServer(streamed(text_event("a"), DONE, end=False, then="hang")) as server:
        outcome = twin.stream(server.url)
    assert outcome.error is None
    assert outcome.response.text == "a"


def test_a_stream_without_framing_is_read_as_it_arrives(twin: Twin) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    reply = Reply([head, text_event("a"), text_event("b"), DONE], "close", pause=0.01)
    with ReplayServer(reply) as server:
        assert twin.stream(server.url).texts == ["a", "b"]


# ---------------------------------------------------------------------------- silence


def test_no_answer_within_the_total_is_a_timeout(twin: Twin) -> None:
    with (
        ReplayServer(Reply([], "hang")) as server,
        pytest.raises(tabbyapi.RequestTimeout, match=r"0\.2 s") as caught,
    ):
        twin.create(server.url, timeout=0.2, retry=quick())
    assert isinstance(caught.value, TimeoutError)
    assert len(server.requests) == 1


def test_a_dripping_answer_does_not_outlive_the_total(twin: Twin) -> None:
    whole = b"".join(GOOD.pieces)
    drops = Reply([whole[i : i + 1] for i in range(len(whole))], pause=0.02)
    with ReplayServer(drops) as server, pytest.raises(tabbyapi.RequestTimeout):
        twin.create(server.url, timeout=0.3)


def test_silence_in_a_stream_is_a_timeout_with_what_had_arrived(twin: Twin) -> None:
    reply = streamed(text_event("so far"), end=False, then="hang")
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.2))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.error.partial.text == "so far"
    assert "no pings" in str(outcome.error)


def test_pings_do_not_count_as_data(twin: Twin) -> None:
    pings = [b": ping - now\r\n\r\n"] * 100
    reply = streamed(text_event("so far"), *pings, end=False, then="hang", pause=0.02)
    with ReplayServer(reply) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(idle=0.2))
        assert server.left.wait(5)
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert "still sends pings" in str(outcome.error)
    assert outcome.error.partial.text == "so far"


def test_a_stream_does_not_outlive_the_total(twin: Twin) -> None:
    events = [text_event("x")] * 200
    with ReplayServer(streamed(*events, pause=0.01)) as server:
        outcome = twin.stream(server.url, timeout=tabbyapi.Timeout(total=0.3))
    assert isinstance(outcome.error, tabbyapi.StreamTimeout)
    assert "timeout.total" in str(outcome.error)
    assert 0 < len(outcome.texts) < 200
    assert outcome.error.partial.text == "x" * len(outcome.texts)


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
