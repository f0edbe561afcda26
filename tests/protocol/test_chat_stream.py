"""Chat streams: bytes in any split become the same chunks, the same answer, the same error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.captures import Capture, load
from support.splits import cut, cuts
from support.wire import assembled, wire, without_nulls
from tabbyapi._protocol.assembly.chat import chat_stream_decoder
from tabbyapi.errors import StreamContextLengthError, StreamError, StreamInterruptedError

STREAMS = [c for c in load().values() if c.streamed and c.path == "/v1/chat/completions"]
ENDED = [c for c in STREAMS if c.done or (c.events and "error" in c.events[-1])]


@dataclass
class Read:
    """What a reader of a stream ends up with."""

    chunks: list[Any]
    response: Any
    error: tuple[type[StreamError], str] | None
    pings: int


def read(pieces: list[bytes]) -> Read:
    decoder = chat_stream_decoder()
    chunks = []
    for batch in [*map(decoder.feed, pieces), decoder.finish()]:
        decoder.assembler.add(batch)
        chunks += batch
    error = decoder.error
    return Read(
        [wire(chunk) for chunk in chunks],
        wire(decoder.assembler.response()),
        None if error is None else (type(error), str(error)),
        decoder.pings,
    )


@pytest.mark.parametrize("capture", STREAMS, ids=repr)
def test_chunks_and_answer_are_what_the_events_say(capture: Capture) -> None:
    result = read([capture.body])
    assert result.chunks == [without_nulls(e) for e in capture.events if "error" not in e]
    assert result.response == assembled(capture.events)
    assert result.pings == capture.body.count(b": ping - ")


@pytest.mark.parametrize("capture", STREAMS, ids=repr)
def test_a_stream_is_without_error_only_if_it_ended_with_done(capture: Capture) -> None:
    error = read([capture.body]).error
    if capture.done:
        assert error is None
    elif capture in ENDED:
        kind, message = error
        told = capture.events[-1]["error"]
        assert told["message"] in message
        full = told.get("code") == "context_length_exceeded"
        assert kind is (StreamContextLengthError if full else StreamError)
    else:
        assert error[0] is StreamInterruptedError


@given(st.data())
def test_any_split_of_a_stream_gives_the_same(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(STREAMS))
    assert read(cut(capture.body, data.draw(cuts(capture.body)))) == read([capture.body])


@pytest.mark.parametrize("capture", STREAMS, ids=repr)
def test_a_stream_gives_the_same_byte_by_byte(capture: Capture) -> None:
    pieces = [capture.body[i : i + 1] for i in range(len(capture.body))]
    assert read(pieces) == read([capture.body])


@given(st.data())
@settings(max_examples=300)
def test_a_stream_cut_off_anywhere_is_interrupted_and_keeps_whole_events(
    data: st.DataObject,
) -> None:
    capture = data.draw(st.sampled_from(ENDED))
    last_event = capture.body.rindex(b"data: ")
    end = data.draw(st.integers(0, last_event + len(b"data: [DON")))
    result = read([capture.body[:end]])
    # An event whose closing blank line was cut off may count: its data is whole.
    whole = capture.body.count(b"\r\n\r\n", 0, end) - capture.body.count(b": ping", 0, end)
    expected = read([capture.body]).chunks
    assert result.chunks in (expected[: max(whole, 0)], expected[: whole + 1])
    assert result.error[0] is StreamInterruptedError


def test_nothing_after_done_is_read() -> None:
    capture = load()["chat_stream_min"]
    assert read([capture.body, b'data: {"error": {"message": "late"}}\r\n\r\n', b"\xff"]) == read(
        [capture.body]
    )


def test_an_event_that_is_no_chunk_is_an_error_that_shows_it() -> None:
    result = read([load()["chat_stream_min"].body.replace(b"data: [DONE]", b"data: <html>")])
    assert result.error[0] is StreamError
    assert "<html>" in result.error[1]
    assert len(result.chunks) == len(load()["chat_stream_min"].events)
