"""One answer of the engine's `/completion`, taken apart as it arrives.

The events of a network read are decoded and handed on in the very callback that brought them: a
token costs no task switch here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import cast

import httptools

from .events import EngineDied, EngineRefusal, Event, decode_event, refusal

__all__ = ["Completion", "Flow", "Take"]


class Flow(Enum):
    """Flow control: what the consumer wants next."""

    MORE = "more"
    WAIT = "wait"
    """Nothing until `Completion.resume`."""
    ENOUGH = "enough"


Take = Callable[[list[Event]], Flow]


class Completion(asyncio.Protocol):
    """Sends a request and gives `take` the events of each read, never an empty list.

    `turn` is a future of what comes next: True when `take` wanted to wait, None when the answer
    is over or `take` had enough, or the exception that ended it (`EngineRefusal`, `EngineDied`,
    or what `take` raised).
    """

    def __init__(self, request: bytes, take: Take) -> None:
        self.turn: asyncio.Future[Exception | bool | None] = _future()
        self._request = request
        self._take = take
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._rest = b""
        self._refused = 0  # the status of a refusal, whose body is collected
        self._complete = False
        self._over = False
        self._outcome: Exception | None = None

    def resume(self) -> None:
        """Go on after a wait."""
        self.turn = _future()
        if self._over:
            self.turn.set_result(self._outcome)
        else:
            self.transport.resume_reading()

    # ------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        try:
            self._parser.feed_data(data)
            if not self._refused:
                self._read()
            elif self._complete:
                self._end(refusal(b"".join(self._body), self._refused))
        except httptools.HttpParserError as error:
            self._end(EngineDied(f"it sent what is no HTTP ({error})"))
        except Exception as error:  # theirs who take the events: it ends them, as it should
            self._end(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(EngineDied(str(error) if error else "its answer broke off"))

    # ----------------------------------------------------------- what the parser calls

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._refused = 0 if status == 200 else status

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True

    # --------------------------------------------------------------------------------

    def _read(self) -> None:
        """Hand on the events that are complete."""
        if body := self._body:
            data = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            lines = (self._rest + data if self._rest else data).split(b"\n\n")
            self._rest = lines.pop()
            events, error = _events(lines)
            if events:
                flow = self._take(events)
                if flow is Flow.ENOUGH or events[-1].stop:
                    self._end(None)
                elif flow is Flow.WAIT and not self.turn.done():
                    self.transport.pause_reading()
                    self.turn.set_result(True)
            if error is not None:
                self._end(error)
        if self._complete:
            self._end(EngineDied("its answer broke off"))

    def _end(self, outcome: Exception | None) -> None:
        if self._over:
            return
        self._over, self._outcome = True, outcome
        if not self.turn.done():
            self.turn.set_result(outcome)


def _future() -> asyncio.Future[Exception | bool | None]:
    return asyncio.get_running_loop().create_future()


def _events(lines: list[bytes]) -> tuple[list[Event], EngineRefusal | None]:
    """The events, up to one that tells of an error."""
    events: list[Event] = []
    for line in lines:
        at = line.find(b"{")  # "data: {…}", or "error: {…}" from some versions
        if at < 0:
            continue
        event = decode_event(line[at:])
        if (error := event.error) is not None:
            return events, EngineRefusal(error.message, status=error.code, kind=error.type)
        events.append(event)
    return events, None
