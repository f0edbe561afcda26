"""What the replay server sends, made beforehand, framed as TabbyAPI frames it.

Every event is an HTTP chunk of its own with CRLF line ends, and a ping comes after every hundred.
What is `bundled` has many events in a chunk, as a proxy may make it.
The same text goes out as newline-delimited JSON for Ollama's client, which speaks only that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

__all__ = [
    "PLAIN_HEAD",
    "STAMP",
    "STREAM_HEADS",
    "Dialect",
    "answer",
    "bundled",
    "http_chunk",
    "payloads",
    "stamped",
    "stream_parts",
]

Dialect = str  # "sse" or "ndjson"

STAMP = len("0000000.000000")
"""Characters of the time stamp that paced chunks carry as their text."""

_PING_EVERY = 100
_BUNDLE = 250  # events in a chunk that holds many
_WORDS = ("Hello", " there", ",", " friend", ". ", "The", " quick", " brown", " fox", " jumps")
_ID = "chatcmpl-9b6954029772403298affa04a2ff7954"
_MODEL = "plain-7b-exl3"
_CREATED = 1795458105

_COMMON = "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 18:21:45 GMT\r\nserver: uvicorn\r\n"
PLAIN_HEAD = (
    _COMMON + "content-length: {}\r\ncontent-type: application/json\r\nvary: Origin\r\n\r\n"
)
STREAM_HEADS = {
    "sse": (
        _COMMON + "cache-control: no-store\r\nconnection: keep-alive\r\nx-accel-buffering: no\r\n"
        "content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
        "transfer-encoding: chunked\r\n\r\n"
    ).encode(),
    "ndjson": (
        _COMMON + "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode(),
}


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(text: str, dialect: Dialect) -> bytes:
    if dialect == "ndjson":
        message = {"role": "assistant", "content": text}
        line = {"model": _MODEL, "created_at": "2026-11-23T18:21:45Z", "message": message}
        return json.dumps({**line, "done": False}, separators=(",", ":")).encode() + b"\n"
    return _sse({"index": 0, "delta": {"content": text}, "finish_reason": None})


def _sse(choice: dict[str, Any], **more: Any) -> bytes:
    chunk = {"id": _ID, "object": "chat.completion.chunk", "created": _CREATED}
    payload = json.dumps({**chunk, "choices": [choice], **more, "model": _MODEL})
    return b"data: " + payload.encode() + b"\r\n\r\n"


_USAGE = {
    "prompt_tokens": 12,
    "prompt_time": 0.02,
    "prompt_tokens_per_sec": 600.0,
    "completion_tokens": 6,
    "completion_time": 0.25,
    "completion_tokens_per_sec": 24.0,
    "total_tokens": 18,
    "total_time": 0.27,
}


def _tail(dialect: Dialect) -> bytes:
    """What ends a stream: the usage chunk, the end mark, the end of the body."""
    if dialect == "ndjson":
        last = {"model": _MODEL, "created_at": "2026-11-23T18:21:45Z", "done": True}
        last |= {"message": {"role": "assistant", "content": ""}, "done_reason": "stop"}
        return http_chunk(json.dumps(last, separators=(",", ":")).encode() + b"\n") + b"0\r\n\r\n"
    usage = _sse({"index": 0, "delta": {}, "finish_reason": "stop"}, usage=_USAGE)
    return http_chunk(usage) + http_chunk(b"data: [DONE]\r\n\r\n") + b"0\r\n\r\n"


def _events(count: int, dialect: Dialect, frame: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """So many events with text, and the pings between them."""
    cycle = [frame(_event(_WORDS[i % len(_WORDS)], dialect)) for i in range(_PING_EVERY)]
    if dialect == "sse":
        cycle[-1] += frame(b": ping - 2026-11-23 18:23:23.089198+00:00\r\n\r\n")
    return islice((event for _ in range(count // _PING_EVERY + 1) for event in cycle), count)


@lru_cache(maxsize=32)
def stream_parts(count: int, dialect: Dialect) -> tuple[list[bytes], bytes]:
    """HTTP chunks of `count` - 1 events with text, and the rest, which holds the last event."""
    return list(_events(count - 1, dialect, http_chunk)), _tail(dialect)


@lru_cache(maxsize=32)
def bundled(count: int, dialect: Dialect) -> bytes:
    """The same stream as something between might frame it anew: many events in an HTTP chunk."""
    events = list(_events(count - 1, dialect, bytes))
    bundles = (b"".join(events[i : i + _BUNDLE]) for i in range(0, len(events), _BUNDLE))
    return b"".join(map(http_chunk, bundles)) + _tail(dialect)


def payloads(count: int) -> list[bytes]:
    """The JSON of `count` events."""
    cycle = [_event(word, "sse")[len(b"data: ") : -len(b"\r\n\r\n")] for word in _WORDS]
    return [cycle[i % len(cycle)] for i in range(count)]


@lru_cache(maxsize=2)
def stamped(dialect: Dialect) -> tuple[bytes, bytes]:
    """What goes before and after the time stamp in a paced event's HTTP chunk."""
    mark = "#" * STAMP
    before, _, after = http_chunk(_event(mark, dialect)).partition(mark.encode())
    return before, after


@lru_cache(maxsize=2)
def answer(dialect: Dialect) -> bytes:
    """A non-streamed answer of about 1 KB, with its head."""
    text = "".join(_WORDS) * 12
    message: dict[str, Any] = {"role": "assistant", "content": text}
    body: dict[str, Any]
    if dialect == "ndjson":
        body = {"model": _MODEL, "created_at": "2026-11-23T18:21:45Z", "message": message}
        body |= {"done": True, "done_reason": "stop", "eval_count": 120}
    else:
        message |= {"reasoning_content": None, "tool_calls": None, "tool_call_id": None}
        choice = {"index": 0, "finish_reason": "stop", "eos_reason": "stop_token"}
        choice |= {"stop_str": "<|im_end|>", "message": message, "logprobs": None}
        body = {"id": _ID, "choices": [choice], "created": _CREATED, "model": _MODEL}
        body |= {"object": "chat.completion", "usage": _USAGE}
    data = json.dumps(body, separators=(",", ":")).encode()
    return PLAIN_HEAD.format(len(data)).encode() + data
