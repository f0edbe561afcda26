"""The state of a conversation: its history, the window of it that is sent, and its context.

The history (`entries`) only grows, but for `cut`, `edit` and `regenerate`. The window is
`entries[start:]`; making a conversation fit (fitting.py) moves `start` forward, at the
beginning of a turn only. `context` is unknown, then read from the server or given by the caller
(`fixed`); another model makes it unknown again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..types.messages import ChatMessage, ChatMessageContent
from .entries import Entry, entry_of
from .token_counts import TEMPLATE, TokenCounts

__all__ = ["State"]

_SUMMARY_HEADING = "Summary of the earlier conversation:"
_IN_PROMPT = ("tools", "functions", "template_vars", "response_prefix", "reasoning_budget_message")


def _described(value: Any) -> Any:
    """The description of a callable tool, as the prompt will show it."""
    from ..tools.describe import is_callable_tool, specs_of

    return specs_of([value]) if is_callable_tool(value) else repr(value)


_encode = msgspec.json.Encoder(enc_hook=_described).encode


class State(msgspec.Struct):
    """The history of a conversation, and how much of it is sent.

    Attributes:
        system: the system messages at the head; always sent.
        entries: all other messages, oldest first.
        start: where the window begins: `entries[start:]` is sent.
        summary: the model's summary of `entries[:start]`, "" if there is none.
        context: the model's context in tokens, prompt and answer together; None if unknown.
        fixed: True if the caller gave `context`.
        ask: True as long as the server may be asked for `context`.
        cached_head: what `head` returned last, until it changes.
    """

    system: list[Entry] = []
    entries: list[Entry] = []
    start: int = 0
    summary: str = ""
    token_counts: TokenCounts = msgspec.field(default_factory=TokenCounts)
    context: int | None = None
    fixed: bool = False
    ask: bool = True
    cached_head: list[Entry] | None = None

    @property
    def head(self) -> list[Entry]:
        """The system messages as they are sent: the last one holds the summary."""
        if self.cached_head is None:
            self.cached_head = _with_summary(self.system, self.summary)
        return self.cached_head

    def copy(self) -> State:
        return msgspec.structs.replace(
            self,
            system=list(self.system),
            entries=list(self.entries),
            token_counts=self.token_counts.copy(),
        )

    def window(self, entries: Sequence[Entry]) -> list[msgspec.Raw]:
        """The messages to send of `entries`, encoded."""
        return [*(e.raw for e in self.head), *(e.raw for e in entries[self.start :])]

    def bound(self, entries: Sequence[Entry], start: int | None = None) -> int:
        """Tokens at most of a prompt with `entries` from `start` (default: the window's) on."""
        return self.token_counts.bound(entries, self.start if start is None else start)

    def set_system(self, system: list[Entry]) -> None:
        self.system = system
        self.cached_head = None
        # No request has this shape, so the next one starts measuring anew.
        self.token_counts.reshape(b"\0", TEMPLATE + sum(entry.bound for entry in system))

    def set_summary(self, summary: str, tokens: int) -> None:
        self.summary = summary
        self.cached_head = None
        self.token_counts.summarized(tokens)

    def prepare(self, params: Mapping[str, Any]) -> None:
        """Account for what this request's prompt holds beside the messages: tools and the like."""
        extras = {name: params[name] for name in _IN_PROMPT if params.get(name) is not None}
        shape = _encode(extras) if extras else b""
        counts = self.token_counts
        if shape != counts.shape or (counts.last is None and not counts.spans):
            prefix = TEMPLATE + len(shape) + sum(entry.bound for entry in self.system)
            counts.reshape(shape, prefix)

    def cut(self, length: int) -> None:
        """Drop the entries from `length` on."""
        del self.entries[length:]
        self.token_counts.cut(length)
        if length < self.start:  # the summary is of messages that are gone
            self.start = 0
            self.set_summary("", 0)

    def answered_by(self, model: str) -> None:
        """Forget counts and context if another model answered: its tokenizer differs."""
        counts = self.token_counts
        if model == counts.model or not model:
            return
        if counts.model:
            counts.forget()
            self.system = [entry.uncounted() for entry in self.system]
            self.entries = [entry.uncounted() for entry in self.entries]
            counts.shape = b"\0"
            if not self.fixed:
                self.context, self.ask = None, True
        counts.model = model


def _with_summary(system: list[Entry], summary: str) -> list[Entry]:
    """System messages with the summary in the last one: many templates take one only."""
    if not summary:
        return system
    text = f"{_SUMMARY_HEADING}\n{summary}"
    if not system:
        return [entry_of(ChatMessage("system", text))]
    *others, last = system
    content = last.message.content
    if isinstance(content, list):
        parts = [*content, ChatMessageContent(text=f"\n\n{text}")]
        return [*others, entry_of(ChatMessage("system", parts))]
    return [*others, entry_of(ChatMessage("system", f"{content or ''}\n\n{text}"))]
