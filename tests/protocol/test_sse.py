"""The SSE decoder: the events depend on the bytes alone, not on how they arrive."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.captures import load
from support.splits import cut, cuts
from tabbyapi._protocol.sse import LineTooLongError, SSEDecoder

STREAMS = [capture for capture in load().values() if capture.streamed]


def decode(pieces: list[bytes]) -> list[bytes]:
    decoder = SSEDecoder()
    payloads = [payload for piece in pieces for payload in decoder.feed(piece)]
    return payloads + decoder.finish()


def events_by_the_book(body: bytes) -> list[bytes]:
    """The `data` of each event as the HTML standard describes it, told slowly.

    One liberty, which the decoder takes as well: an event whose closing blank line is missing at
    the end of the stream counts.
    """
    payloads: list[bytes] = []
    data: list[bytes] = []
    for line in [*re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf")), b""]:
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line and data:
            payloads.append(b"\n".join(data))
            data = []
    return payloads


# Text that looks like line ends or framing to a careless reader, and text that does not.
texts = st.text(
    st.sampled_from("\u2028\u2029\x85\x0b\x0c\x1c\u00e9\U0001f600 :,{}[]\"'\\abdt\ufeff"),
    max_size=20,
).map(str.encode)
data_lines = st.builds(bytes.__add__, st.sampled_from([b"data: ", b"data:"]), texts)
other_lines = st.one_of(
    st.builds(b": ".__add__, texts),
    st.sampled_from([b":", b"event: message", b"id: 7", b"data", b"dat: x", b"database: x"]),
)
blocks = st.lists(st.one_of(data_lines, other_lines), min_size=1, max_size=4)
ends = st.sampled_from([b"\r\n", b"\n", b"\r"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body of some events whose lines end in one way, or in any mixture."""
    one = draw(ends)
    mixed = draw(st.booleans())
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for block in draw(st.lists(blocks, max_size=5)):
        for line in [*block, b""]:
            body += line + (draw(ends) if mixed else one)
    return body + draw(st.sampled_from([b"", b"data: cut", b"data: cut\r", b"\r", b"\n"]))


@given(st.data())
def test_any_body_in_any_split_gives_the_events_of_the_standard(data: st.DataObject) -> None:
    body = data.draw(bodies())
    assert decode(cut(body, data.draw(cuts(body)))) == events_by_the_book(body)


@given(st.data())
def test_any_split_of_a_recorded_stream_gives_its_events(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(STREAMS))
    pieces = cut(capture.body, data.draw(cuts(capture.body)))
    assert decode(pieces) == events_by_the_book(capture.body)


@pytest.mark.parametrize("capture", STREAMS, ids=repr)
def test_a_recorded_stream_gives_its_events_byte_by_byte(capture) -> None:
    pieces = [capture.body[i : i + 1] for i in range(len(capture.body))]
    assert decode(pieces) == events_by_the_book(capture.body)


@given(st.binary(max_size=200), st.data())
def test_no_bytes_break_it_and_no_split_matters(body: bytes, data: st.DataObject) -> None:
    assert decode(cut(body, data.draw(cuts(body)))) == events_by_the_book(body)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_handed_out_as_soon_as_its_blank_line_is_complete(end: bytes) -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: 1" + end) == []
    # A lone CR may be the first half of CRLF, so the next byte decides.
    assert decoder.feed(end + (b":" if end == b"\r" else b"")) == [b"1"]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r:", b"\r\n\r:", b"\n\r\n"])
def test_line_ends_of_another_kind_hold_no_event_back(end: bytes) -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: 1\r\n\r\ndata: 2" + end) == [b"1", b"2"]


def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive".encode()
    assert decode([b"data: " + text + b"\r\n\r\n"]) == [text]


def test_pings_are_counted_and_give_no_event() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b": ping - now\r\n\r\n: ping - later\r\n\r\n") == []
    assert decoder.comments == 2


def test_a_line_of_many_megabytes_comes_out_whole() -> None:
    text = b"x" * 5_000_000
    body = b"data: " + text + b"\r\n\r\n"
    assert decode([body[i : i + 65536] for i in range(0, len(body), 65536)]) == [text]


def test_an_event_without_end_is_given_up_at_the_limit() -> None:
    decoder = SSEDecoder(max_event=1000)
    decoder.feed(b"data: " + b"x" * 900)
    with pytest.raises(LineTooLongError):
        decoder.feed(b"x" * 200)


def test_an_event_of_endless_short_lines_is_given_up_at_the_limit() -> None:
    decoder = SSEDecoder(max_event=1000)
    with pytest.raises(LineTooLongError):
        for _ in range(1000):
            decoder.feed(b"data: xxxxxxxxxx\r\n")


@pytest.mark.parametrize("piece", [1, 7, 64, 10_000])
@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_the_limit_holds_in_any_split_and_keeps_the_events_before(
    piece: int, size: int, fits: bool
) -> None:
    body = b"data: first\r\n\r\ndata: " + b"x" * size + b"\r\n\r\ndata: last\r\n\r\n"
    decoder = SSEDecoder(max_event=1000)
    payloads: list[bytes] = []
    try:
        for start in range(0, len(body), piece):
            payloads += decoder.feed(body[start : start + piece])
    except LineTooLongError as error:
        payloads += error.payloads
        assert not fits
    assert payloads == ([b"first", b"x" * size, b"last"] if fits else [b"first"])
