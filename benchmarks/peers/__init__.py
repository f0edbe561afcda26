"""The clients that are compared, each written as its users write it.

A peer is made with the base URL of the replay server. `stream(count)` is a context manager over
the chunks of one stream, read to its end; `request(messages)` is one non-streamed answer;
`text(chunk)` is a chunk's text. Async peers have the same, awaited.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["MESSAGES", "PEERS", "Peer"]

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. Answer in a few sentences."},
    {"role": "user", "content": "What is dependency injection good for?"},
]


class Peer(NamedTuple):
    """A client to measure: where its class is, and how it is driven."""

    name: str
    module: str
    kind: str
    uvloop: bool = False
    imports: str = ""

    def load(self) -> Any:
        """The peer's class; this imports the library."""
        return getattr(import_module(f"{__name__}.{self.module}"), self.kind.capitalize())


PEERS = {
    peer.name: peer
    for peer in (
        Peer("tabbyapi sync", "ours", "sync", imports="tabbyapi"),
        Peer("tabbyapi async", "ours", "async"),
        Peer("tabbyapi async uvloop", "ours", "async", uvloop=True),
        Peer("openai sync", "openai_sdk", "sync", imports="openai"),
        Peer("openai async", "openai_sdk", "async"),
        Peer("ollama sync", "ollama_sdk", "sync", imports="ollama"),
        Peer("ollama async", "ollama_sdk", "async"),
        Peer("httpx2+msgspec sync", "httpx2_msgspec", "sync", imports="httpx2"),
        Peer("httpx2+msgspec async", "httpx2_msgspec", "async"),
        Peer("urllib3+json sync", "bare_urllib3", "sync", imports="urllib3"),
        Peer("aiohttp+json async", "bare_aiohttp", "async", imports="aiohttp"),
        Peer("raw socket", "floor", "sync"),
    )
}


def body(messages: list[dict[str, str]], count: int | None = None) -> dict[str, Any]:
    """A chat request's JSON for the peers that write it themselves."""
    fields: dict[str, Any] = {"model": "m", "messages": messages}
    if count is not None:
        fields |= {"max_tokens": count, "stream": True}
    return {**fields, "stream_options": {"include_usage": True}}


class Lines:
    """The least that splits server-sent events: payloads of the `data` lines of each read."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return [
            line[6:]
            for line in lines
            if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]")
        ]


def age_of(stamp: str) -> float:
    """Seconds since a paced chunk was written; the monotonic clock is one for the machine."""
    return (time.monotonic() % 1e7) - float(stamp)
