"""Chunked framing: any body, any framing, any split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi._transport.chunked import Dechunker

EXTENSIONS = st.sampled_from([b"", b";", b";name=value", b" ;a", b"\t"])
TRAILERS = st.sampled_from([b"", b"x-sum: 1\r\n", b"a: b\r\nc: d\r\n", b"2\r\nhi\r\n"])


@st.composite
def framings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and its chunked framing."""
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    framed = b""
    for part in parts:
        size = b"%x" % len(part)
        if draw(st.booleans()):
            size = b"0" + size.upper()
        framed += size + draw(EXTENSIONS) + b"\r\n" + part + b"\r\n"
    framed += b"0" + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"
    return b"".join(parts), framed


def fed(data: bytes, cuts: list[int]) -> tuple[bytes, Dechunker]:
    frames = Dechunker()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    return b"".join(map(frames.feed, pieces)), frames


@given(framings(), st.lists(st.integers(0, 1000), max_size=10), st.binary(max_size=5))
def test_any_split_of_any_framing_gives_the_body(
    framing: tuple[bytes, bytes], cuts: list[int], after: bytes
) -> None:
    body, framed = framing
    got, frames = fed(framed + after, cuts)
    assert got == body
    assert frames.done
    assert frames.failure is None
    assert frames.rest == after


@given(framings(), st.integers(0, 1000))
def test_what_has_arrived_of_a_body_is_given_out_at_once(
    framing: tuple[bytes, bytes], cut: int
) -> None:
    body, framed = framing
    arrived = framed[: cut % len(framed)]
    got, frames = fed(arrived, list(range(len(arrived))))
    whole, _ = fed(arrived, [])
    assert got == whole
    assert body.startswith(got)
    assert not frames.done


@pytest.mark.parametrize(
    ("framed", "before"),
    [
        (b"x\r\n", b""),
        (b"\r\n", b""),
        (b"-1\r\n", b""),
        (b"+1\r\na\r\n", b""),
        (b"0x1\r\na\r\n", b""),
        (b"1_0\r\n", b""),
        (b"11111111111111111\r\n", b""),
        (b"3\r\nabcd\r\n", b"abc"),
        (b"3\r\nabc\n\n", b"abc"),
        (b"1\r\na\r\n2\r\nbcX\r\n", b"abc"),
        (b"1;" + b"e" * 5000, b""),
        (b"0\r\n" + b"a: b\r\n" * 20_000, b""),
    ],
)
def test_broken_framing_is_told_in_any_split(framed: bytes, before: bytes) -> None:
    for cuts in ([], list(range(len(framed))) if len(framed) < 100 else [7]):
        got, frames = fed(framed, cuts)
        assert got == before
        assert frames.failure
        assert not frames.done


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_no_bytes_make_it_fail_otherwise(data: bytes, cuts: list[int]) -> None:
    whole, frames = fed(data, [])
    pieces, others = fed(data, cuts)
    assert whole == pieces
    assert (frames.done, frames.rest, frames.failure is None) == (
        others.done,
        others.rest,
        others.failure is None,
    )
