"""Server-sent events: bytes in, payloads out, whatever the split.

Lines end with LF, CRLF or CR, and with nothing else: payloads may hold raw U+2028 and U+0085.
Cost: each byte is copied once when it arrives whole, and twice when a line is split over reads;
a line that arrives in k pieces is joined once, when its end comes. One `bytes.split` does the
searching; the Python loop sees two lines for each event.
"""

from __future__ import annotations

__all__ = ["LineTooLongError", "SSEDecoder"]

MAX_EVENT = 64 * 1024 * 1024


class LineTooLongError(Exception):
    """An event grew beyond the limit."""


class SSEDecoder:
    """Turns the bytes of an event stream into the `data` of its events.

    `comments` counts comment lines (pings). `max_event` bounds the memory that one unfinished
    event may take, in bytes.
    """

    __slots__ = ("_data", "_fresh", "_held", "_held_size", "comments", "max_event")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.comments = 0
        self.max_event = max_event
        self._data: bytes | None = None  # data of the event being read
        self._held: list[bytes] = []  # pieces of an unfinished line
        self._held_size = 0
        self._fresh = True

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that `data` completes.

        Raises:
            LineTooLongError: an unfinished event is longer than `max_event`.
        """
        # A CR held at the end turns out to end a line when no LF follows it.
        goes_on = not (self._held and self._held[-1].endswith(b"\r"))
        if goes_on and b"\n" not in data and b"\r" not in data:
            self._hold(data)
            return []
        if self._held:
            self._held.append(data)
            data = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
        if self._fresh:
            if data.startswith(b"\xef\xbb\xbf"):
                data = data[3:]
            self._fresh = False
        carry = b""
        returns = data.count(b"\r")
        if returns and returns != data.count(b"\r\n"):
            if data.endswith(b"\r"):  # its LF may still come
                data, carry = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop() + carry
        if rest:
            self._hold(rest)

        payloads: list[bytes] = []
        pending = self._data
        for line in lines:
            if line.startswith(b"data:"):
                # The space after the colon and a CR at the end are white space to JSON too.
                value = line[6:] if line[5:6] == b" " else line[5:]
                pending = value if pending is None else _joined(pending, value)
            elif not line or line == b"\r":
                if pending is not None:
                    payloads.append(pending.removesuffix(b"\r"))
                    pending = None
            elif line.startswith(b":"):
                self.comments += 1
            elif line in (b"data", b"data\r"):  # a field without a value
                pending = b"" if pending is None else _joined(pending, b"")
        self._data = pending
        if pending is not None and len(pending) > self.max_event:
            raise LineTooLongError
        return payloads

    def finish(self) -> list[bytes]:
        """What is left when the stream has ended: an event that lacked its closing blank line."""
        payloads = self.feed(b"\n\n") if self._held or self._data is not None else []
        self._data = None
        return payloads

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_size += len(piece)
        if self._held_size > self.max_event:
            raise LineTooLongError


def _joined(data: bytes, line: bytes) -> bytes:
    """Data of an event that has several lines of it."""
    return data.removesuffix(b"\r") + b"\n" + line
