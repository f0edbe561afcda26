"""Upper bounds of how many tokens the messages of a conversation take. Does no I/O.

A window that fits by these bounds fits. Three sources, the best one wins:

- A message's length in bytes: a token is a byte at least.
- The `usage` of an answer: the prompt's exact length (`last`). While the window keeps its
  beginning, the next prompt is that plus the messages since, and the difference of two prompts
  is the exact length of the messages between them (a `Span`).
- The server's tokenizer, which counted a message's text (a `Span` too).

`last` holds until the window's beginning, the model, or what stands beside the messages changes;
spans hold until an entry in them or the model changes.

Cost: an ordinary turn adds up the few messages since the last answer. The spans of the window
are walked only when turns have to be left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .entries import Entry

__all__ = ["TEMPLATE", "Span", "TokenCounts"]

TEMPLATE = 64
"""Tokens a prompt template may add itself: dates, headings, the opening of the answer."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The entries from `start` to before `stop` take `tokens` tokens."""

    start: int
    stop: int
    tokens: int


class TokenCounts(msgspec.Struct):
    """Token counts of a conversation's messages.

    Attributes:
        model: the model whose tokenizer counted.
        shape: JSON of what was in the prompts beside messages (tools, template variables).
        prefix: bound of a prompt without entries: system message, tools, template.
        summary: bound of the summary of the turns before the window.
        last: the last prompt: entries `start` to `stop`, and its tokens with the prefix.
        spans: measured runs of entries, in order, disjoint.
        slack: tokens to add where nothing was measured; grows when a bound proved too low.
    """

    model: str = ""
    shape: bytes = b""
    prefix: int = TEMPLATE
    summary: int = 0
    last: Span | None = None
    spans: list[Span] = []
    slack: int = 0

    def copy(self) -> TokenCounts:
        return msgspec.structs.replace(self, spans=list(self.spans))

    def bound(self, entries: Sequence[Entry], start: int, stop: int | None = None) -> int:
        """Tokens at most of a prompt with the entries from `start` to before `stop`."""
        stop = len(entries) if stop is None else stop
        last = self.last
        if last is not None and last.start == start and last.stop <= stop:
            if self.spans and self.spans[-1].stop > last.stop:  # counted ahead of an answer
                return last.tokens + self._sum(entries, last.stop, stop)
            return last.tokens + sum(entry.bound for entry in entries[last.stop : stop])
        return self.prefix + self.summary + self.slack + self._sum(entries, start, stop)

    def exact(self, entries: Sequence[Entry], start: int) -> bool:
        """True if `bound` is the server's own count, but for the template's marks."""
        last = self.last
        if last is None or last.start != start:
            return False
        since = entries[last.stop :]
        return all(entry.counted and entry.role == "assistant" for entry in since)

    def guessed(self, entries: Sequence[Entry], start: int) -> list[int]:
        """Indices of entries from `start` on that were not counted."""
        last = self.last
        first = last.stop if last is not None and last.start == start else start
        covered = {i for span in self.spans for i in range(max(span.start, first), span.stop)}
        return [
            i for i in range(first, len(entries)) if i not in covered and not entries[i].counted
        ]

    def measured(self, start: int, stop: int, prompt_tokens: int) -> None:
        """Record an answer's usage: the entries from `start` to before `stop` were its prompt."""
        if prompt_tokens <= 0:
            return
        last = self.last
        if last is not None and last.start == start and last.stop < stop:
            self._add(Span(last.stop, stop, max(0, prompt_tokens - last.tokens)))
        self.prefix = min(self.prefix, prompt_tokens)
        self.last = Span(start, stop, prompt_tokens)

    def counted(self, start: int, stop: int, tokens: int) -> None:
        """Record the tokenizer's count of the entries from `start` to before `stop`."""
        self._add(Span(start, stop, tokens))

    def cut(self, length: int) -> None:
        """Forget counts of entries from `length` on: they were changed or dropped."""
        self.spans = [span for span in self.spans if span.stop <= length]
        if self.last is not None and self.last.stop > length:
            self.last = None

    def reshape(self, shape: bytes, prefix: int) -> None:
        """Note a change of the rest of the prompt: it takes at most `prefix` tokens now."""
        self.shape = shape
        self.prefix = prefix
        self.last = None

    def forget(self) -> None:
        """Forget all counts: another model answers."""
        self.last = None
        self.spans = []
        self.slack = 0

    def too_low(self, entries: Sequence[Entry], start: int, actual: int) -> None:
        """Correct a bound: the server found `actual` or more tokens in the prompt from `start`."""
        self.last = None
        self.slack += max(0, actual - self.bound(entries, start))

    def summarized(self, tokens: int) -> None:
        """Record a new summary at the window's beginning, of `tokens` tokens at most."""
        self.summary = tokens
        self.last = None

    def rate(self, entries: Sequence[Entry]) -> float | None:
        """Tokens per byte of what has been measured; None if nothing was."""
        spans = self.spans or ([self.last] if self.last is not None else [])
        size = sum(entry.size for span in spans for entry in entries[span.start : span.stop])
        return sum(span.tokens for span in spans) / size if size else None

    def _add(self, span: Span) -> None:
        """Add a span in place of older ones that it overlaps."""
        apart = [s for s in self.spans if s.stop <= span.start or s.start >= span.stop]
        self.spans = sorted([*apart, span], key=lambda s: s.start)

    def _sum(self, entries: Sequence[Entry], start: int, stop: int) -> int:
        """Tokens at most of the entries alone."""
        total = 0
        at = start
        for span in self.spans:
            if span.stop <= at or span.start >= stop:
                continue
            total += sum(entry.bound for entry in entries[at : span.start])
            at = max(at, span.start)
            end = min(span.stop, stop)
            if at == span.start and end == span.stop:
                total += span.tokens
            else:  # a part of the span: no more than the whole, nor than its own messages
                total += min(span.tokens, sum(entry.bound for entry in entries[at:end]))
            at = end
        return total + sum(entry.bound for entry in entries[at:stop])
