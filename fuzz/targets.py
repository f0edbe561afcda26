"""What must hold for any bytes. Each target raises `AssertionError` (or anything) if it does not.

The test suite runs the same targets on Hypothesis' inputs; `make fuzz` runs them for longer, led
by coverage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tabbyapi.errors import APIError, OutputError, StreamError, TabbyError
from tabbyapi.protocol.answers import decode_answer, error_of_answer
from tabbyapi.protocol.chat_stream import chat_stream_decoder
from tabbyapi.protocol.sse import SSEDecoder
from tabbyapi.services.chat import chat_call
from tabbyapi.structured.reading import read
from tabbyapi.types.messages import user

__all__ = ["TARGETS"]

_CALL = chat_call([user("x")], {})
_URL = "http://localhost:5000/v1/chat/completions"


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The input without its first 8 bytes, in pieces whose sizes those decide."""
    plan, body = data[:8], data[8:]
    pieces, start = [], 0
    for size in plan:
        pieces.append(body[start : start + size + 1])
        start += size + 1
    pieces.append(body[start:])
    return [piece for piece in pieces if piece], body


def sse_split(data: bytes) -> None:
    """No split of an event stream changes its events."""
    pieces, body = _split(data)
    whole, parts = SSEDecoder(), SSEDecoder()
    expected = (whole.feed(body) if body else []) + whole.finish()
    got = [payload for piece in pieces for payload in parts.feed(piece)] + parts.finish()
    assert got == expected
    assert whole.comments == parts.comments


def stream_split(data: bytes) -> None:
    """A chat stream never raises while it is fed, and no split changes what it gives."""
    pieces, body = _split(data)
    outcomes = []
    for feeding in ([body], pieces):
        decoder = chat_stream_decoder()
        chunks = [chunk for piece in feeding if piece for chunk in decoder.feed(piece)]
        chunks += decoder.finish()
        decoder.assembler.add(chunks)
        assert decoder.error is None or isinstance(decoder.error, StreamError)
        assert decoder.done or decoder.error is not None
        response = decoder.assembler.response()
        if response is not None:
            assert response.text == "".join(
                choice.delta.content or ""
                for chunk in chunks
                for choice in chunk.choices
                if choice.index == response.choices[0].index
            )
        outcomes.append((chunks, decoder.done, str(decoder.error), response))
    assert outcomes[0] == outcomes[1]


def error_body(data: bytes) -> None:
    """Any error answer becomes an `APIError` that can be shown."""
    status = 300 + (data[0] if data else 0)
    headers = {"content-type": "application/json", "retry-after": data[1:5].decode("latin-1")}
    error = error_of_answer(_CALL, _URL, status, headers, data[1:])
    assert isinstance(error, APIError)
    assert error.status_code == status
    assert len(error.body) <= 2000
    assert str(error)


def plain_answer(data: bytes) -> None:
    """Any answer is a response or an error of the tree."""
    with contextlib.suppress(TabbyError):
        decode_answer(_CALL, _URL, 200, "application/json", data)


def typed_answer(data: bytes) -> None:
    """Any text is a value of the type or an `OutputError`."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(OutputError):
        assert isinstance(read(text, dict[str, list[int]]), dict)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse_split": sse_split,
    "stream_split": stream_split,
    "error_body": error_body,
    "plain_answer": plain_answer,
    "typed_answer": typed_answer,
}
