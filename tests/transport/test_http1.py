"""The reader of answers: any cut of the same bytes is the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi._transport.http1 import HTTPError, ReplyReader, RequestHeads
from tabbyapi._transport.request import Request
from tabbyapi.types import Timeout

BODY = b'{"text": "fine"}'
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: 1\r\nx-a:2\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\n" + BODY[:5] + b"\r\n%x;a=b\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
)
UNTIL_THE_END = b"HTTP/1.0 200 OK\nx-a: 1\n\n" + BODY
EMPTY = b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n"


def answered(pieces: Sequence[bytes], limit: int = 65_536) -> tuple[ReplyReader, bytes]:
    """What a reader makes of these bytes, received in these pieces, and the connection's end."""
    reader = ReplyReader(limit)
    body = b""
    for piece in pieces:
        body += reader.feed(piece)
        if reader.failure is not None:
            raise HTTPError(reader.failure)
    reader.end()
    return reader, body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("answer", "reusable"),
    [(COUNTED, True), (CHUNKED, True), (UNTIL_THE_END, False)],
    ids=["counted", "chunked", "until the end"],
)
@given(places=st.lists(st.integers(0, 300), max_size=12))
def test_any_cut_of_an_answer_is_the_same_answer(
    answer: bytes, reusable: bool, places: list[int]
) -> None:
    reply, body = answered(cut(answer, places))
    assert (reply.status, body, reply.done) == (200, BODY, True)
    assert reply.reusable is reusable


def test_a_head_may_have_a_hundred_fields_wherever_it_is_cut() -> None:
    head = b"HTTP/1.1 204 No Content\r\n" + b"a: b\r\n" * 100 + b"\r\n"
    for cut_at in range(len(head) - 4, len(head)):
        reader, _ = answered([head[:cut_at], head[cut_at:]])
        assert reader.status == 204


def test_fields_are_read_by_name_and_several_of_a_name_together() -> None:
    reply, _ = answered([COUNTED])
    assert reply.headers == {"content-length": str(len(BODY)), "x-a": "1, 2"}
    folded, _ = answered([b"HTTP/1.1 200 OK\r\nx-a: 1\r\n  2\r\ncontent-length: 0\r\n\r\n"])
    assert folded.headers["x-a"] == "1 2"


def test_an_answer_that_has_no_body_has_none_whatever_it_says() -> None:
    reply, body = answered([EMPTY])
    assert (reply.status, body, reply.reusable) == (204, b"", True)


@pytest.mark.parametrize(
    "answer",
    [
        COUNTED + b"HTTP/1.1 200 OK",
        CHUNKED + b"x",
        COUNTED.replace(b"X-A: 1", b"Connection: close"),
        COUNTED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["more than it", "more than its chunks", "told to close", "old"],
)
def test_a_connection_is_not_used_again_after(answer: bytes) -> None:
    reply, body = answered([answer])
    assert body == BODY
    assert not reply.reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(HTTPError):
        answered([answer])


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    try:
        reply, _ = answered([data])
    except HTTPError:
        return
    assert reply.done


def request(
    url: str, headers: dict[str, str], body: bytes | None = None, method: str = "POST"
) -> Request:
    return Request(method, url, headers, body, Timeout(), None)


@pytest.mark.parametrize(
    ("root", "host"),
    [
        ("http://localhost:5000", "localhost:5000"),
        ("http://tabby.example:80", "tabby.example"),
        ("https://tabby.example", "tabby.example"),
        ("https://tabby.example:8443/behind/a/proxy", "tabby.example:8443"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("http://[fe80::1%25eth0]", "[fe80::1]"),
        ("http://b\u00fccher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_head_names_the_host_and_the_path(root: str, host: str) -> None:
    head = RequestHeads(root).of(request(f"{root}/v1/models", {"X-Api-Key": "k"}, method="GET"))
    first, *lines = head.decode().split("\r\n")
    assert first == f"GET {'/behind/a/proxy' if 'behind' in root else ''}/v1/models HTTP/1.1"
    assert lines == [f"Host: {host}", "Accept-Encoding: identity", "X-Api-Key: k", "", ""]


def test_a_head_tells_the_length_of_the_body_and_keeps_what_is_given() -> None:
    heads = RequestHeads("http://h")
    headers = {"host": "other", "ACCEPT-ENCODING": "gzip"}
    for size in (0, 5, 17):
        head = heads.of(request("http://h/v1/x", headers, b"x" * size)).decode()
        assert head == (
            "POST /v1/x HTTP/1.1\r\nhost: other\r\nACCEPT-ENCODING: gzip\r\n"
            f"Content-Length: {size}\r\n\r\n"
        )


def test_headers_that_come_and_go_are_not_mixed_up() -> None:
    heads = RequestHeads("http://h")
    for n in range(100):  # many live at the same address in memory
        assert f"X-N: {n}\r\n" in heads.of(request("http://h/v1/x", {"X-N": str(n)})).decode()
