"""The recorded exchanges with a real TabbyAPI server, typed.

`tests/captures/*.jsonl` hold them, one case a line, written by `tests/captures/convert.py`.
`load()` returns all of them by name; `Capture.request` and `Capture.response` are the bytes that
went over the wire, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

FOLDER = Path(__file__).parent.parent / "captures"

End: TypeAlias = Literal["complete", "server_closed", "client_aborted", "client_stopped_reading"]


@dataclass(frozen=True)
class Capture:
    """One exchange.

    Attributes:
        name, description: what was tried.
        profile: how the server was set up: "main" (keys `test-api-key` and `test-admin-key`,
            pings every second), "noauth", "inline" (inline model loading) or "nostream"
            (streaming switched off).
        end: "complete"; "server_closed", where the connection closed without the final chunk; or
            "client_aborted" / "client_stopped_reading", where the client left on purpose, so
            that the server's answer is only a beginning, possibly an empty one.
        client_left_after: seconds until the client left, None if it stayed.
        method, path, headers, request_body: what was sent.
        status, response_headers: the answer's head; status None if nothing had been received.
        chunks: the body as it was framed: one HTTP chunk each (an SSE event or a ping), or the
            whole body if it came with a Content-Length.
        chunked: whether the body came as HTTP chunks.
        body_left_out: the body was long and of no use, so only the head is kept.
    """

    name: str
    description: str
    profile: str
    end: End
    client_left_after: float | None
    request_head: tuple[str, ...]
    request_body: bytes
    response_head: tuple[str, ...]
    chunks: tuple[bytes, ...]
    chunked: bool
    body_left_out: bool

    @property
    def method(self) -> str:
        return self.request_head[0].split(" ")[0]

    @property
    def path(self) -> str:
        return self.request_head[0].split(" ")[1]

    @cached_property
    def headers(self) -> dict[str, str]:
        return _headers(self.request_head)

    @cached_property
    def request(self) -> bytes:
        return "\r\n".join(self.request_head).encode() + b"\r\n\r\n" + self.request_body

    @property
    def request_json(self) -> Any:
        """The request's body decoded; raises ValueError where it was not JSON on purpose."""
        return json.loads(self.request_body)

    @property
    def status(self) -> int | None:
        return int(self.response_head[0].split(" ")[1]) if self.response_head else None

    @cached_property
    def response_headers(self) -> dict[str, str]:
        return _headers(self.response_head)

    @property
    def streamed(self) -> bool:
        """The answer is a stream of server-sent events."""
        return self.response_headers.get("content-type", "").startswith("text/event-stream")

    @property
    def body(self) -> bytes:
        """The answer's body without chunked framing."""
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        """The answer's body decoded; raises ValueError where it is not JSON."""
        return json.loads(self.body)

    @cached_property
    def events(self) -> list[Any]:
        """The payloads of a stream in order, decoded, without pings and `[DONE]`."""
        lines = self.body.split(b"\r\n")
        return [json.loads(x[6:]) for x in lines if x.startswith(b"data: ") and x[6:] != b"[DONE]"]

    @property
    def done(self) -> bool:
        """The stream ended with `[DONE]`."""
        return self.body.endswith(b"data: [DONE]\r\n\r\n")

    @cached_property
    def framed(self) -> tuple[bytes, ...]:
        """The response in the pieces the server framed it in: its head, then each HTTP chunk."""
        if not self.response_head:
            return ()
        head = "\r\n".join(self.response_head).encode() + b"\r\n\r\n"
        if not self.chunked:
            return (head, *self.chunks)
        framed = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks]
        if self.end == "complete":
            framed.append(b"0\r\n\r\n")
        return (head, *framed)

    @property
    def response(self) -> bytes:
        """The response, byte for byte."""
        return b"".join(self.framed)

    def __repr__(self) -> str:
        return f"<Capture {self.name}>"


def from_record(record: dict[str, Any]) -> Capture:
    """One line of the files, decoded, as a `Capture`."""
    left = record.get("client_left_after_ms")
    if "chunks" in record:
        chunks = tuple(chunk.encode() for chunk in record["chunks"])
    else:
        chunks = (record["body"].encode(),) if "body" in record else ()
    return Capture(
        name=record["name"],
        description=record["description"],
        profile=record["profile"],
        end=record["end"],
        client_left_after=None if left is None else left / 1000,
        request_head=tuple(record["request"]),
        request_body=record.get("request_body", "").encode(),
        response_head=tuple(record["response"]),
        chunks=chunks,
        chunked="chunks" in record,
        body_left_out=record.get("body_left_out", False),
    )


@cache
def load() -> dict[str, Capture]:
    """All cases by name, in the order of the files."""
    captures = (from_record(json.loads(line)) for line in _lines())
    return {capture.name: capture for capture in captures}


def _lines() -> Iterator[str]:
    for file in sorted(FOLDER.glob("*.jsonl")):
        # Not splitlines(): recorded text may hold U+2028 and the like.
        yield from file.read_text(encoding="utf-8").rstrip("\n").split("\n")


def _headers(head: tuple[str, ...]) -> dict[str, str]:
    pairs = (line.partition(": ") for line in head[1:])
    return {name.lower(): value for name, _, value in pairs}
