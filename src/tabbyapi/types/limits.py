"""How much memory an answer may take."""

import msgspec

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True):
    """Sizes, in bytes, beyond which an answer is given up: a broken server ends in an error.

    Attributes:
        event: one event of a stream, and so one line of it. TabbyAPI sends a tool call as one
            event, however long, hence the generous default. More raises
            `StreamInterruptedError`, with what had come before in `partial`.
        body: a plain answer. More raises `RequestError`.
        header: one line of the answer's head, 65,536 at most (the HTTP libraries read no longer
            ones, nor more than 100 of them). More raises `RequestError`.
    """

    event: int = 64 * 1024 * 1024
    body: int = 256 * 1024 * 1024
    header: int = 65_536
