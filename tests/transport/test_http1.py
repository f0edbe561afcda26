"""The reader of answers: any cut of the same bytes is the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabbyapi._protocol.headers import Headers
from tabbyapi._transport.base import Request
from tabbyapi._transport.http1 import AnswerReader, CutOffError, HTTPError, RequestHeads
from tabbyapi.types import Timeout

BODY = b'{"text": "fine"}'
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: 1\r\nx-a:2\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\n" + BODY[:5] + b"\r\n%x;a=b\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
)
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\n" + BODY
EMPTY = b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n"


def answered(pieces: Sequence[bytes], limit: int = 65_536) -> tuple[AnswerReader, bytes]:
    """What a reader makes of these bytes, received in these pieces, and the connection's end."""
    reader = AnswerReader(limit)
    body = b""
    for piece in pieces:
        body += reader.feed(piece)
        reader.check()
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
        COUNTED.replace(b"200 OK", b"500 Internal Server Error"),
        COUNTED.replace(b"200 OK", b"503 Busy"),
    ],
    ids=["more than it", "more than its chunks", "told to close", "old", "500", "503"],
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


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: -5\r\n\r\nhello", "content-length"),
        (OK + b"Content-Length: +5\r\n\r\nhello", "content-length"),
        (OK + b"Content-Length: 5, 5\r\n\r\nhello", "content-length"),
        (OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello", "content-length"),
        (OK + b"Content-Length: 99999999999999999999999\r\n\r\n", "content-length"),
        (OK + b"Transfer-Encoding: xchunked\r\n\r\nhello", "transfer-encoding xchunked"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer-encoding gzip"),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "content-length"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "content-encoding gzip"),
        (OK + b"a: b\r\n folded\r\n\r\n", "whitespace"),
        (OK + b"a: b\x00c\r\n\r\n", "header value"),
        (b"HTTP/1.1 200 OK\n\n", "expected CR"),
        (b"HTTP/1.1 099 No\r\n\r\n", "status is 099"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not HTTP/1"),
        (b"RTSP/1.0 200 OK\r\n\r\n", "not HTTP/1"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "begins with b'SSH-2.0-OpenSSH_9.6"),
        (CHUNKS + b"3\r\nabcd\r\n", "after chunk data"),
        (CHUNKS + b"3 \r\nabc\r\n", "chunk size"),
        (CHUNKS + b"0x3\r\nabc\r\n", "chunk size"),
        (CHUNKS + b"3\nabc\n0\n\n", "expected CR"),
        (CHUNKS + b"fffffffffffffffff\r\n", "overflow"),
        (CHUNKS + b"1;" + b"e" * 200_000, "without content"),
        (CHUNKS + b"0\r\n" + b"a: b\r\n" * 200, "headers"),
    ],
)
def test_what_the_standard_forbids_is_refused_with_the_reason(answer: bytes, reason: str) -> None:
    reads = [answer[start : start + 65_536] for start in range(0, len(answer), 65_536)]
    for pieces in (reads, cut(answer, list(range(0, len(answer), 40)))):
        with pytest.raises(HTTPError, match=f"(?i){reason}") as caught:
            answered(pieces)
        assert not isinstance(caught.value, CutOffError)


@pytest.mark.parametrize(
    "answer", [b"", OK + b"content-le", OK + b"content-length: 5\r\n\r\nabc", CHUNKS + b"3\r\nab"]
)
def test_an_answer_that_is_cut_off_is_told_from_a_broken_one(answer: bytes) -> None:
    with pytest.raises(CutOffError):
        answered([answer])


def test_what_came_before_a_break_is_given_out_first() -> None:
    reader = AnswerReader(65_536)
    assert reader.feed(CHUNKS + b"3\r\nabc\r\n2\r\ndeX\r\n") == b"abcde"
    with pytest.raises(HTTPError):
        reader.check()


@st.composite
def framings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and its chunked framing."""
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    extension = st.sampled_from([b"", b";a", b";name=value", b';name="quoted value"'])
    framed = b""
    for part in parts:
        size = b"0%X" % len(part) if draw(st.booleans()) else b"%x" % len(part)
        framed += size + draw(extension) + b"\r\n" + part + b"\r\n"
    trailers = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"a: b\r\nc: d\r\n"]))
    return b"".join(parts), framed + b"0" + draw(extension) + b"\r\n" + trailers + b"\r\n"


@given(framings(), st.lists(st.integers(0, 1000), max_size=10), st.binary(max_size=5))
def test_any_cut_of_any_chunks_gives_the_body(
    framing: tuple[bytes, bytes], cuts: list[int], after: bytes
) -> None:
    body, framed = framing
    reader, got = answered(cut(CHUNKS + framed + after, cuts))
    assert got == body
    assert reader.reusable is not bool(after.strip(b"\r\n"))


@given(framings(), st.integers(0, 1000))
def test_what_has_arrived_is_given_out_at_once(framing: tuple[bytes, bytes], at: int) -> None:
    body, framed = framing
    arrived = framed[: at % len(framed)]
    whole, bytewise = AnswerReader(65_536), AnswerReader(65_536)
    got = whole.feed(CHUNKS + arrived)
    assert got == b"".join(bytewise.feed(bytes([byte])) for byte in CHUNKS + arrived)
    assert body.startswith(got)


# Pieces of which odd answers are made; h11 is the second opinion.
LINES = [
    b"content-length: 5", b"content-length: 0", b"Content-Length: -5", b"content-length: 5, 5",
    b"content-length: 7", b"transfer-encoding: chunked", b"transfer-encoding: Chunked",
    b"transfer-encoding: xchunked", b"transfer-encoding: identity", b"connection: close",
    b"x-a:", b"x-a: \xff", b"x-a : 1", b": 1", b"no header", b"x-a: 1", b" folded", b"x\x00: 1",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"5\r\nhelloX\r\n", b"-5\r\nhello\r\n", b"\r\n", b"05\r\nhello\r\n0\r\n\r\n", b"zz\r\n",
]  # fmt: skip
STATUSES = [b"200 OK", b"204 No Content", b"304 Not Modified", b"500 No", b"200", b"20 OK", b"2000"]


def by_h11(data: bytes) -> tuple[int, bytes] | None:
    """Status and body as h11 reads them; None if it refuses the answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    connection.receive_data(data)
    ended = False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event is h11.NEED_DATA and not ended:
                connection.receive_data(b"")
                ended = True
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


@settings(max_examples=1000)
@given(
    st.sampled_from(STATUSES),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from(BODIES),
)
def test_what_is_accepted_is_read_as_h11_reads_it(
    status: bytes, lines: list[bytes], body: bytes
) -> None:
    answer = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]) + body
    expected = by_h11(answer)
    try:
        reader, got = answered([answer])
    except HTTPError:
        # Stricter in three points: h11 takes the same length twice, joins folded lines, and lets
        # chunks outrank a length (which is how answers are smuggled).
        lengths = answer.lower().count(b"content-length")
        stricter = lengths > 1 or b"5, 5" in answer or b" folded" in lines
        stricter |= bool(lengths) and b"transfer-encoding" in answer.lower()
        assert expected is None or stricter, expected
    else:
        assert expected == (reader.status, got)


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
    return Request(method, url, Headers(headers), body, Timeout(), None)


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
