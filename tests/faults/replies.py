"""The answers of the scripted servers: sound ones, and the parts that broken ones are made of."""

from __future__ import annotations

import socket
from typing import Any

from tests.support.replay import Reply, json_reply

import tabbyapi

__all__ = ["ANSWER", "DONE", "GOOD", "STREAM_HEAD", "framed", "free_port", "quick", "streamed",
           "text_event"]  # fmt: skip

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
