"""What is known about how many tokens the messages of a conversation take.

Nothing here asks a server. Every figure is an upper bound, so that a window that fits by them
fits. Three sources, the best one wins:

- A message's length in bytes: a token is a byte at least.
- The `usage` of an answer: the prompt's exact length. While the window keeps its beginning, the
  next prompt is that plus what came since, and the difference of two prompts is the exact length
  of the messages between them (a `Span`).
- The server's tokenizer, which counted a message's text.

Cost: an ordinary turn adds up the few messages since the last answer. Only when turns have to
be dropped are the spans of the window walked.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .entries import Entry

__all__ = ["TEMPLATE", "Ledger", "Span"]

TEMPLATE = 64
"""Tokens a prompt template may add to a prompt of its own (dates, headings, the marks of the
answer to come)."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The entries from `start` to before `stop` take `tokens` tokens."""

    start: int
    stop: int
    tokens: int


class Ledger(msgspec.Struct):
    """What the last answers said.

    Attributes:
        model: the model whose tokenizer the figures are of.
        shape: what beside the messages was in the prompts (tools, template variables).
        prefix: tokens at most of a prompt without entries: system message, tools, template.
        summary: tokens at most of the summary that stands for the turns before the window.
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

    def copy(self) -> Ledger:
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
        """Whether `bound` is what the server counted, but for the template's marks."""
        last = self.last
        if last is None or last.start != start:
            return False
        since = entries[last.stop :]
        return all(entry.counted and entry.role == "assistant" for entry in since)

    def guessed(self, entries: Sequence[Entry], start: int) -> list[int]:
        """Entries from `start` on of which only the length is known."""
        last = self.last
        first = last.stop if last is not None and last.start == start else start
        covered = {i for span in self.spans for i in range(max(span.start, first), span.stop)}
        return [
            i for i in range(first, len(entries)) if i not in covered and not entries[i].counted
        ]

    def measured(self, start: int, stop: int, prompt_tokens: int) -> None:
        """An answer's usage: the entries from `start` to before `stop` made this prompt."""
        if prompt_tokens <= 0:
            return
        last = self.last
        if last is not None and last.start == start and last.stop < stop:
            self._add(Span(last.stop, stop, max(0, prompt_tokens - last.tokens)))
        self.prefix = min(self.prefix, prompt_tokens)
        self.last = Span(start, stop, prompt_tokens)

    def counted(self, start: int, stop: int, tokens: int) -> None:
        """The tokenizer's word: the entries from `start` to before `stop` take no more."""
        self._add(Span(start, stop, tokens))

    def cut(self, length: int) -> None:
        """Only the first `length` entries are still the ones that were measured."""
        self.spans = [span for span in self.spans if span.stop <= length]
        if self.last is not None and self.last.stop > length:
            self.last = None

    def reshape(self, shape: bytes, prefix: int) -> None:
        """From now on prompts hold something else beside the entries, `prefix` tokens at most."""
        self.shape = shape
        self.prefix = prefix
        self.last = None

    def forget(self) -> None:
        """Another model: nothing that was measured holds any more."""
        self.last = None
        self.spans = []
        self.slack = 0

    def too_low(self, entries: Sequence[Entry], start: int, actual: int) -> None:
        """The server found `actual` tokens or more in the prompt from `start`."""
        self.last = None
        self.slack += max(0, actual - self.bound(entries, start))

    def summarized(self, tokens: int) -> None:
        """The window begins with a new summary of `tokens` tokens at most."""
        self.summary = tokens
        self.last = None

    def rate(self, entries: Sequence[Entry]) -> float | None:
        """Tokens per byte of what has been measured; None if nothing has."""
        spans = self.spans or ([self.last] if self.last is not None else [])
        size = sum(entry.size for span in spans for entry in entries[span.start : span.stop])
        return sum(span.tokens for span in spans) / size if size else None

    def _add(self, span: Span) -> None:
        """A newer figure for these entries takes the place of older ones."""
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
