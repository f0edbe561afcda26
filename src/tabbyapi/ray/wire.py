"""Answers on their way through the gateway: heads, bodies, and the messages of errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.types import Message, Send

from .._protocol.headers import Headers
from .._transport.base import Answer, AsyncByteStream

__all__ = ["Answer", "head", "message_of", "outgoing", "read_whole", "send_answer"]

_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "upgrade", "expect"}
    | {"proxy-authenticate", "proxy-authorization", "transfer-encoding", "accept-encoding"}
)
_NOT_BACK = _HOP | {"date", "server"}


def outgoing(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a request as they are passed on."""
    return Headers(
        {
            name: value.decode("utf-8", "replace")
            for key, value in raw
            if (name := key.decode("latin-1").lower()) not in _HOP
        }
    )


def head(status: int, headers: Mapping[str, str], server: str = "", size: int = -1) -> Message:
    """The head of an answer, with the server that gave it in `x-served-by`."""
    kept = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in _NOT_BACK
    ]
    if server:
        kept.append((b"x-served-by", server.encode()))
    if size >= 0:
        kept.append((b"content-length", str(size).encode()))
    return {"type": "http.response.start", "status": status, "headers": kept}


async def send_answer(send: Send, answer: Answer, server: str = "") -> None:
    """Send a whole answer."""
    await send(head(answer.status, answer.headers, server, len(answer.body)))
    await send({"type": "http.response.body", "body": answer.body})


async def read_whole(stream: AsyncByteStream) -> Answer:
    """The rest of an answer.

    Raises:
        RequestError: the connection broke.
    """
    pieces: list[bytes] = []
    while piece := await stream.read():
        pieces.append(piece)
    return Answer(stream.status, stream.headers, b"".join(pieces))


def message_of(body: Any) -> str:
    """What an error answer says: its JSON body, or the events of a stream."""
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace").strip()
        for line in reversed(text.splitlines()):
            if line.startswith("data:"):
                return message_of(line.removeprefix("data:").strip().encode())
        try:
            body = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text[:500]
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict):
            error = error.get("message")
        found = error or body.get("detail") or body
        return found if isinstance(found, str) else msgspec.json.encode(found).decode()
    return str(body)
