"""Server-sent events: bytes in, payloads out, whatever the split.

Lines end with LF, CRLF or CR, and with nothing else: payloads may hold raw U+2028 and U+0085.
Cost: each byte is copied once when it arrives whole, and twice when a line is split over reads;
a line that arrives in k pieces is joined once, when its end comes. One `bytes.split` does the
searching; where each event is one line, as on generation routes, no Python loop sees lines.
"""

from __future__ import annotations

from ..types.options import Limits

__all__ = ["LineTooLongError", "SSEDecoder"]


_LF, _CR = b"\n\r"  # a number is found faster than bytes
_FIELD = len(b"data: \r")


class LineTooLongError(Exception):
    """An event grew beyond the limit; `payloads` are of the events before it."""

    def __init__(self, payloads: list[bytes]) -> None:
        super().__init__()
        self.payloads = payloads


class SSEDecoder:
    """Turns the bytes of an event stream into the `data` of its events.

    Attributes:
        comments: how many comment lines (pings) there were.
        max_event: the most bytes that one event may have, finished or not.
        between: what was fed so far ended with an event. Then a reader may take the payload out
            of a read that is one event in one line; it is what comes while a model generates.
    """

    __slots__ = ("_data", "_fresh", "_held", "_held_size", "between", "comments", "max_event")

    def __init__(self, max_event: int = Limits().event) -> None:
        self.comments = 0
        self.max_event = max_event
        self._data: bytes | None = None  # data of the event being read
        self._held: list[bytes] = []  # pieces of an unfinished line
        self._held_size = 0
        self._fresh = True
        self.between = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that `data` completes.

        Raises:
            LineTooLongError: an event is longer than `max_event`.
        """
        payloads = self._feed(data)
        self.between = self._data is None and not self._held and not self._fresh
        return payloads

    def _feed(self, data: bytes) -> list[bytes]:
        # A CR held at the end turns out to end a line when no LF follows it.
        goes_on = not (self._held and self._held[-1].endswith(b"\r"))
        if goes_on and b"\n" not in data and b"\r" not in data:
            self._hold(data, [])
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
        if self._data is None and len(data) <= self.max_event:
            quick = _single_lines(data)
            if quick is not None:
                payloads, rest, comments = quick
                self.comments += comments
                if rest:
                    self._hold(rest, payloads)
                return payloads
        carry = b""
        returns = data.count(b"\r")
        if returns and returns != data.count(b"\r\n"):
            if data.endswith(b"\r"):  # its LF may still come
                data, carry = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop() + carry

        payloads = []
        pending = self._data
        size = len(data) if pending is None else len(data) + len(pending)
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
        if size > self.max_event:
            for i, payload in enumerate(payloads):
                if len(payload) > self.max_event:
                    raise LineTooLongError(payloads[:i])
            if pending is not None and len(pending.removesuffix(b"\r")) > self.max_event:
                raise LineTooLongError(payloads)
        if rest:
            self._hold(rest, payloads)
        return payloads

    def finish(self) -> list[bytes]:
        """End the stream; returns the last event if only its closing blank line is missing."""
        try:
            payloads = self.feed(b"\n\n") if self._held or self._data is not None else []
        except LineTooLongError as long:  # half an event is none, however long
            payloads = long.payloads
        self._data = None
        return payloads

    def _hold(self, piece: bytes, payloads: list[bytes]) -> None:
        self._held.append(piece)
        self._held_size += len(piece)
        if self._held_size > self.max_event + _FIELD:
            raise LineTooLongError(payloads)


def _single_lines(data: bytes) -> tuple[list[bytes], bytes, int] | None:
    """Payloads, a rest and the number of comments, where each event is one line.

    That is how TabbyAPI writes them. None if anything else is in the data.
    """
    end = data.rfind(b"\r\n\r\n")
    if end < 0 or not data.startswith(b"data: "):
        return None
    payloads, rest = data[6:end].split(b"\r\n\r\ndata: "), data[end + 4 :]
    comments = 0
    if not _one_line(payloads, rest):
        for i, payload in enumerate(payloads):
            if _LF in payload:  # comments stand behind the event before them
                payloads[i], *after = payload.split(b"\r\n\r\n:")
                comments += len(after)
                if not _one_line(after):
                    return None
        if not _one_line(payloads, rest):
            return None
    return payloads, rest, comments


def _one_line(pieces: list[bytes], rest: bytes = b"") -> bool:
    """True if there is no line end: not in the rest either, which may hold an event."""
    joined = b"".join([*pieces, rest])  # one search is cheaper than one for each
    return _LF not in joined and _CR not in joined


def _joined(data: bytes, line: bytes) -> bytes:
    """Data of an event that has several lines of it."""
    return data.removesuffix(b"\r") + b"\n" + line
