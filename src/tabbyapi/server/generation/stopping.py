"""What ends an answer, or takes parts of it back: stop strings, banned strings, token ids, loops.

Text that may become part of a stop string or of a banned string is held back, token by token, until
that is decided.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import TokenProbability
from .job import TextDelta

__all__ = ["Banned", "HeldText", "Stopped", "Token", "held_back", "repeats"]


def held_back(text: str, tag: str) -> int:
    """How many characters at the end of `text` could be the beginning of `tag`."""
    if tag[:1] not in text[1 - len(tag) :]:
        return 0
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0


def repeats(tokens: list[int]) -> bool:
    """True if the tokens are one pattern, repeated at least twice. O(n)."""
    border = [0] * len(tokens)
    size = 0
    for at in range(1, len(tokens)):
        while size and tokens[at] != tokens[size]:
            size = border[size - 1]
        if tokens[at] == tokens[size]:
            size += 1
        border[at] = size
    return bool(tokens) and (len(tokens) - size) * 2 <= len(tokens)


def _folded(text: str) -> str:
    """Lower case, of the same length."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(small if len(small := char.lower()) == 1 else char for char in text)


@dataclass(slots=True)
class Token:
    """A token as the engine reported it, together with what goes through with it.

    `text` is empty for tokens that show no text, and holds a whole character for the last of the
    tokens that make it up. `position` is the number of tokens of the answer before it.
    """

    position: int
    text: str
    probabilities: list[TokenProbability] | None = None


@dataclass(frozen=True)
class Stopped:
    """A stop string was found: the answer ends before it."""

    stop: str


@dataclass(frozen=True)
class Banned:
    """A banned string was found: the answer is to go on differently from this token on."""

    token: Token


class HeldText:
    """Tokens in, decided text out.

    Invariant: `held` are the latest tokens, from the first on that may be part of a stop string or
    of a banned string; everything before has been given out. A string may also begin in text that
    was given out: it was not held any more because of a token that has been taken back since.
    """

    def __init__(self, stop: tuple[str, ...], banned: tuple[str, ...]) -> None:
        self.held: list[Token] = []
        self._stop = stop
        self._banned = tuple(map(_folded, banned))
        # Only banned strings take tokens back.
        self._longest = max(map(len, (*stop, *banned))) - 1 if banned else 0
        self._tail = ""  # the end of the text that was given out, of the length `_longest`

    def feed(self, token: Token, out: list[TextDelta]) -> Stopped | Banned | None:
        """Take a token; appends what is decided to `out`."""
        self.held.append(token)
        text, lower = self._texts()
        stop = min(((at, s) for s in self._stop if (at := text.find(s)) >= 0), default=None)
        ban = min((at for s in self._banned if (at := lower.find(s)) >= 0), default=None)
        if stop is not None and (ban is None or stop[0] <= ban):
            self._cut(stop[0] - len(self._tail), out)
            return Stopped(stop[1])
        if ban is not None:
            return Banned(self.held[self._index(ban - len(self._tail))])
        self._release_decided(out)
        return None

    def take_back(self, token: Token, out: list[TextDelta]) -> None:
        """Forget a held token and those after it."""
        del self.held[self.held.index(token) :]
        # What is left may still begin a banned string with what comes instead.
        self._release_decided(out)

    def allow_all(self, out: list[TextDelta]) -> None:
        """Ban nothing any more."""
        self._banned = ()
        self._release_decided(out)

    def flush(self, out: list[TextDelta]) -> None:
        """Give out everything that is held."""
        self._give(len(self.held), out)

    def _texts(self) -> tuple[str, str]:
        """The text in which strings are looked for, and the same in lower case."""
        text = self._tail + "".join(token.text for token in self.held)
        return text, _folded(text) if self._banned else ""

    def _release_decided(self, out: list[TextDelta]) -> None:
        text, lower = self._texts()
        keep = max(
            max((held_back(text, s) for s in self._stop), default=0),
            max((held_back(lower, s) for s in self._banned), default=0),
        )
        decided = len(text) - keep - len(self._tail)
        self._give(self._index(decided) if keep else len(self.held), out)

    def _index(self, at: int) -> int:
        """Index of the held token that has the character at this place."""
        for index, token in enumerate(self.held):
            at -= len(token.text)
            if at < 0:
                return index
        return len(self.held)

    def _give(self, count: int, out: list[TextDelta]) -> None:
        """Give out the first tokens, those without text for their log probabilities."""
        given = self.held[:count]
        del self.held[:count]
        out += [TextDelta(t.text, t.probabilities) for t in given if t.text or t.probabilities]
        if self._longest:
            self._tail = (self._tail + "".join(t.text for t in given))[-self._longest :]

    def _cut(self, at: int, out: list[TextDelta]) -> None:
        """Give out the first `at` characters, and forget the rest."""
        for token in self.held:
            if at <= 0:
                break
            out.append(TextDelta(token.text[:at], token.probabilities))
            at -= len(token.text)
        self.held.clear()
