"""Admin requests, sent to every server; the answer comes when all have done it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Send

from .._protocol.headers import Headers
from .._transport.base import is_event_stream
from ..errors import RequestError
from ..server.errors import HTTPError, busy, error_event
from .pool import Server
from .wire import Answer, head, message_of, send_answer

__all__ = ["ADMIN_PATHS", "ask_everywhere"]

ADMIN_PATHS = frozenset(
    {
        "/v1/model/load",
        "/v1/model/unload",
        "/v1/model/embedding/load",
        "/v1/model/embedding/unload",
        "/v1/lora/load",
        "/v1/lora/unload",
        "/v1/template/switch",
        "/v1/template/unload",
        "/v1/sampling/override/switch",
        "/v1/sampling/override/unload",
        "/v1/download",
    }
)

Show = Callable[[bytes], Awaitable[None]]


@dataclass
class _Outcome:
    """What became of the request on one server; `failure` is "" where it was done."""

    server: Server
    answer: Answer | None
    failure: str = ""


class _Progress:
    """Passes on the progress that the first streaming server reports, but for its last event:
    that says it is done, which holds only once all are.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._source: Server | None = None
        self.begun = False

    async def show(self, server: Server, answer: Answer, events: list[bytes]) -> None:
        self._source = self._source or server
        if server is not self._source or not events:
            return
        if not self.begun:
            self.begun = True
            await self._send(head(answer.status, answer.headers))
        await self._send(
            {"type": "http.response.body", "body": b"".join(events), "more_body": True}
        )

    async def end(self, event: bytes) -> None:
        await self._send({"type": "http.response.body", "body": event})


async def ask_everywhere(
    servers: list[Server], target: str, headers: Headers, body: bytes | None, send: Send
) -> None:
    """Send a request to all servers and answer for them.

    Raises:
        HTTPError: 503: there is no server, or some did it and some failed; these are named.
    """
    if not servers:
        raise busy("no server is running")
    progress = _Progress(send)
    outcomes = await asyncio.gather(*(_ask(s, target, headers, body, progress) for s in servers))
    failed = [outcome for outcome in outcomes if outcome.failure]
    answered = [outcome for outcome in outcomes if outcome.answer is not None]
    refused_alike = len({o.answer.status for o in answered if o.answer is not None}) == 1
    if not failed or (len(failed) == len(answered) == len(servers) and refused_alike):
        first = answered[0].answer
        assert first is not None
        if progress.begun:
            await progress.end(_events(first.body)[-1])
        else:
            await send_answer(send, first)
        return
    names = "; ".join(f"{outcome.server.url}: {outcome.failure}" for outcome in failed)
    done = len(servers) - len(failed)
    text = f"Done by {done} of {len(servers)} servers. Failed on {names}"
    if not progress.begun:
        raise HTTPError(503, text)
    await progress.end(error_event(text, parity=False))


async def _ask(
    server: Server, target: str, headers: Headers, body: bytes | None, progress: _Progress
) -> _Outcome:
    try:
        stream = await server.open("POST", target, headers, body)
    except RequestError as error:
        return _Outcome(server, None, str(error))
    answer = Answer(stream.status, stream.headers, b"")
    streams = is_event_stream(stream.status, stream.headers)
    received = b""
    shown = 0
    try:
        while piece := await stream.read():
            received += piece
            if streams and len(events := _events(received)) > shown + 1:
                await progress.show(server, answer, events[shown:-1])
                shown = len(events) - 1
    except RequestError as error:
        return _Outcome(server, None, str(error))
    finally:
        stream.close()
    answer = Answer(stream.status, stream.headers, received)
    last = _events(received)[-1] if streams and received else b""
    bad = stream.status >= 400 or b'"error"' in last
    return _Outcome(server, answer, (message_of(last or received) or "failed") if bad else "")


def _events(stream: bytes) -> list[bytes]:
    """The events of a stream, each with its end; the last may be incomplete."""
    mark = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    *whole, rest = stream.split(mark)
    return [event + mark for event in whole] + ([rest] if rest else [])
