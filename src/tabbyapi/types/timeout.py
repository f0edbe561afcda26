"""How long a call may take."""

import msgspec

__all__ = ["Timeout"]


class Timeout(msgspec.Struct, frozen=True):
    """Limits of a call, in seconds; None means no limit.

    Attributes:
        connect: making a connection.
        idle: waiting for the next *data* of a stream, the first one included. A server's pings
            do not count: after an unload it pings for ever. Long prompts and tool calls send
            nothing for minutes, hence the generous default. For calls that do not generate, it
            bounds the wait for the answer.
        total: the whole call, retries excluded. None by default: a non-streamed answer sends
            nothing until it is finished, and a long generation is not a fault.
    """

    connect: float | None = 5.0
    idle: float | None = 600.0
    total: float | None = None
