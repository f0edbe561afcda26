"""What must hold for any bytes. Each target raises `AssertionError` (or anything) if it does not.

The test suite runs the same targets on Hypothesis' inputs; `make fuzz` runs them for longer, led
by coverage.
"""

from __future__ import annotations

import contextlib
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tabbyapi._protocol.assembly.chat import chat_stream_decoder
from tabbyapi._protocol.assembly.completion import completion_stream_decoder
from tabbyapi._protocol.assembly.load import load_stream_decoder
from tabbyapi._protocol.responses import decode_answer, error_of_answer
from tabbyapi._protocol.sse import SSEDecoder
from tabbyapi._protocol.stream import StreamDecoder
from tabbyapi._services.chat import chat_call
from tabbyapi._transport.http1 import AnswerReader, HTTPError
from tabbyapi.errors import APIError, OutputError, StreamError, TabbyError
from tabbyapi.server.auth import load_keys
from tabbyapi.server.generation.toolcalls import ToolCallSplitter
from tabbyapi.server.model_files.files import open_model
from tabbyapi.server.model_files.gguf import NotAModelError, read_token_types
from tabbyapi.server.overrides import Overrides, PresetError, read_preset
from tabbyapi.server.prompt.child import Job, render
from tabbyapi.server.settings import Settings
from tabbyapi.structured.reading import PartialReader, read
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
    # Not only at the end: each event is given as soon as it is complete.
    assert [p for piece in pieces for p in parts.feed(piece)] == (whole.feed(body) if body else [])
    assert parts.finish() == whole.finish()
    assert whole.comments == parts.comments


def answer_split(data: bytes) -> None:
    """No split of an answer changes what is read of it, and what is none is refused."""
    pieces, whole = _split(data)
    outcomes = []
    for feeding in ([whole], pieces):
        reader, body = AnswerReader(4096), b""
        try:
            for piece in feeding:
                body += reader.feed(piece) if piece else b""
                reader.check()
            reader.end()
        except HTTPError:
            outcomes.append((reader.status, body, None))
        else:
            outcomes.append((reader.status, body, reader.reusable))
            assert reader.done
    assert outcomes[0] == outcomes[1]


def _streamed(data: bytes, new: Callable[[], StreamDecoder[Any, Any]]) -> tuple[list[Any], Any]:
    """Chunks and response, the same for the whole input and for its pieces."""
    pieces, body = _split(data)
    outcomes = []
    for feeding in ([body], pieces):
        decoder = new()
        chunks = [chunk for piece in feeding if piece for chunk in decoder.feed(piece)]
        chunks += decoder.finish()
        decoder.assembler.add(chunks)
        assert decoder.error is None or isinstance(decoder.error, StreamError)
        assert decoder.done or decoder.error is not None
        response = decoder.assembler.response()
        outcomes.append((chunks, decoder.done, str(decoder.error), response))
    assert outcomes[0] == outcomes[1]
    return chunks, response


def stream_split(data: bytes) -> None:
    """A chat stream never raises while it is fed, and no split changes what it gives."""
    chunks, response = _streamed(data, chat_stream_decoder)
    if response is not None:
        assert response.text == "".join(
            choice.delta.content or ""
            for chunk in chunks
            for choice in chunk.choices
            if choice.index == response.choices[0].index
        )


def completion_split(data: bytes) -> None:
    """The same of a completion stream."""
    chunks, response = _streamed(data, completion_stream_decoder)
    if response is not None:
        for choice in response.choices:
            said = [c.text for chunk in chunks for c in chunk.choices if c.index == choice.index]
            assert choice.text == "".join(said)


def load_split(data: bytes) -> None:
    """The same of the progress of a load, whose response is its last step."""
    steps, last = _streamed(data, load_stream_decoder)
    assert last == (steps[-1] if steps else None)


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


def partial_json(data: bytes) -> None:
    """A text that is JSON in the end is never given up on the way, and comes out whole."""
    pieces, body = _split(data)
    text = body.decode("utf-8", "ignore")
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        sound = False
    else:
        sound = True
    reader, last = PartialReader(), None
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    try:
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            last = _newer(reader.feed(text[start:end]), last)
        last = _newer(reader.finish(), last)
    except OutputError:
        assert not sound
    else:
        assert not sound or last == value


def _newer(value: Any, last: Any) -> Any:
    return last if value is None else value


def model_file(data: bytes) -> None:
    """Any file is a model or is said to be none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        path.write_bytes(data)
        with contextlib.suppress(NotAModelError):
            file = open_model(path)
            assert file.context(None) > 0
            assert isinstance(file.chat_template, str | None)
        with contextlib.suppress(NotAModelError):
            read_token_types(path)


def model_header(data: bytes) -> None:
    """Any entries behind a sound beginning are read, or the file is said to be no model."""
    entries = int.from_bytes(data[:1], "little") % 8
    model_file(b"GGUF" + struct.pack("<IQQ", 3, 0, entries) + data[1:])


def key_file(data: bytes) -> None:
    """Any file holds two keys, or is refused with its name, or is written anew if it is empty."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.json")
        path.write_bytes(data)
        path.chmod(0o600)
        try:
            keys = load_keys(Settings(keys_file=path))
        except SystemExit as error:
            assert "keys.json" in str(error)  # noqa: PT017
        else:
            assert keys.level(keys.admin) == "admin"
            assert keys.level(keys.api[0]) is not None


def preset_file(data: bytes) -> None:
    """Any file is a preset that can be put in force, or is refused."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "own.yml").write_bytes(data)
        with contextlib.suppress(PresetError):
            Overrides().switch(read_preset(Path(folder), "own"), "own")


def template_source(data: bytes) -> None:
    """Any source is compiled and rendered, or the reason why it is not is told."""
    # A process bounds the time and the memory of real ones: here, they are kept small.
    source = data.decode("utf-8", "replace")[:500]
    if re.search(r"[0-9]{4}|\*|range|center|just|for|macro", source):
        return
    outcome = render(Job(source, {"messages": [{"role": "user", "content": "x"}]}))
    assert set(outcome) in ({"text"}, {"error"})
    assert outcome.get("error", "x")


def tool_markup(data: bytes) -> None:
    """No split of generated text changes its content and the calls in it."""
    pieces, body = _split(data)
    text = body.decode("utf-8", "replace")
    outcomes = []
    for size in (len(text) or 1, len(pieces[0]) if pieces else 1):
        splitter = ToolCallSplitter()
        parts = [splitter.feed(text[at : at + size]) for at in range(0, len(text), size)]
        content = "".join([*parts, splitter.finish()])
        calls = [call["function"] for call in splitter.calls]
        outcomes.append((content, calls, splitter.seen))
    assert outcomes[0] == outcomes[1]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        sse_split,
        answer_split,
        stream_split,
        completion_split,
        load_split,
        error_body,
        plain_answer,
        typed_answer,
        partial_json,
        model_file,
        model_header,
        key_file,
        preset_file,
        template_source,
        tool_markup,
    )
}
