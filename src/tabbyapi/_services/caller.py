"""What a service needs of a client: to send a call, and to open a stream of one.

Services are written against these two, so that they import no client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from .._protocol.call import Call, StreamCall

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream

__all__ = ["AsyncCaller", "Caller"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")


class Caller(Protocol):
    """Sends calls and waits for the answers: `Client`."""

    def send(self, call: Call[T], /) -> T: ...

    def open_stream(self, call: StreamCall[C, R], /) -> Stream[C, R]: ...


class AsyncCaller(Protocol):
    """`Caller`, awaited: `AsyncClient`."""

    async def send(self, call: Call[T], /) -> T: ...

    def open_stream(self, call: StreamCall[C, R], /) -> AsyncStream[C, R]: ...
