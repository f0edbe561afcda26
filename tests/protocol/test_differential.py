"""Every recorded stream, of every route, comes out the same however it is split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.captures import Capture, load
from support.splits import cut, cuts
from tabbyapi._protocol.assembly.chat import chat_stream_decoder
from tabbyapi._protocol.assembly.completion import completion_stream_decoder
from tabbyapi._protocol.assembly.load import load_stream_decoder
from tabbyapi._protocol.stream import StreamDecoder

DECODERS: dict[str, Callable[[], StreamDecoder[Any, Any]]] = {
    "/v1/chat/completions": chat_stream_decoder,
    "/v1/completions": completion_stream_decoder,
    "/v1/model/load": load_stream_decoder,
}
STREAMS = [c for c in load().values() if c.streamed and c.body]


def decoded(capture: Capture, pieces: list[bytes]) -> tuple[Any, ...]:
    """Everything a caller could see of the stream."""
    decoder = DECODERS[capture.path]()
    chunks = [chunk for piece in pieces if piece for chunk in decoder.feed(piece)]
    chunks += decoder.finish()
    decoder.assembler.add(chunks)
    error = decoder.error
    response = decoder.assembler.response()
    return chunks, decoder.done, type(error), str(error), decoder.pings, response


def test_every_kind_of_stream_is_there() -> None:
    assert {capture.path for capture in STREAMS} == set(DECODERS)


@pytest.mark.parametrize("capture", STREAMS, ids=repr)
def test_byte_by_byte_is_the_same_as_the_whole(capture: Capture) -> None:
    body = capture.body
    assert decoded(capture, [body[i : i + 1] for i in range(len(body))]) == decoded(capture, [body])


@settings(max_examples=150)
@given(st.data())
def test_any_split_is_the_same_as_the_whole(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(STREAMS))
    pieces = cut(capture.body, data.draw(cuts(capture.body)))
    assert decoded(capture, pieces) == decoded(capture, [capture.body])


@settings(max_examples=150)
@given(st.data())
def test_a_stream_cut_anywhere_gives_a_beginning_of_the_whole(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(STREAMS))
    end = data.draw(st.integers(0, len(capture.body) - 1))
    whole, _, *_ = decoded(capture, [capture.body])
    part, done, kind, *_ = decoded(capture, cut(capture.body[:end], []))
    assert part == whole[: len(part)]
    # Only the end of its last lines may be missing from a stream that counts as complete.
    assert kind is not type(None) or (done and len(part) == len(whole))
