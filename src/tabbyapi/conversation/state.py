"""The state of a conversation, and the window of it that is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..types.messages import ChatMessage, ChatMessageContent
from .entries import Entry, entry_of
from .token_counts import TEMPLATE, Ledger

__all__ = ["State"]

_SUMMARY = "Summary of the earlier conversation:"
_IN_PROMPT = ("tools", "functions", "template_vars", "response_prefix", "reasoning_budget_message")


def _described(value: Any) -> Any:
    """A function given as a tool, as the prompt will show it."""
    if callable(value) or hasattr(value, "spec"):
        from ..tools.describe import tool_of

        return tool_of(value).spec
    return repr(value)


_encode = msgspec.json.Encoder(enc_hook=_described).encode


class State(msgspec.Struct):
    """What a conversation holds.

    Attributes:
        system: the system messages at the head; always sent.
        entries: all other messages, whole, oldest first.
        start: where the window begins: `entries[start:]` is sent.
        summary: what the model wrote of `entries[:start]`, "" if nothing.
        context: tokens the model takes, prompt and answer together; None until it is known.
        fixed: the caller said what `context` is.
        ask: whether the server may be asked for it; False once it could not say.
    """

    system: list[Entry] = []
    entries: list[Entry] = []
    start: int = 0
    summary: str = ""
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    context: int | None = None
    fixed: bool = False
    ask: bool = True
    cached_head: list[Entry] | None = None

    @property
    def head(self) -> list[Entry]:
        """The system messages as they are sent, the last one with the summary."""
        if self.cached_head is None:
            self.cached_head = _with_summary(self.system, self.summary)
        return self.cached_head

    def copy(self) -> State:
        return msgspec.structs.replace(
            self,
            system=list(self.system),
            entries=list(self.entries),
            ledger=self.ledger.copy(),
        )

    def window(self, entries: Sequence[Entry]) -> list[msgspec.Raw]:
        """What is sent of `entries`, encoded."""
        return [*(e.raw for e in self.head), *(e.raw for e in entries[self.start :])]

    def set_system(self, system: list[Entry]) -> None:
        self.system = system
        self.cached_head = None
        # No request has this shape, so that the next one starts measuring anew.
        self.ledger.reshape(b"\0", TEMPLATE + sum(entry.bound for entry in system))

    def set_summary(self, summary: str, tokens: int) -> None:
        self.summary = summary
        self.cached_head = None
        self.ledger.summarized(tokens)

    def prepare(self, params: Mapping[str, Any]) -> None:
        """Notes what this request's prompt holds beside the messages."""
        extras = {name: params[name] for name in _IN_PROMPT if params.get(name) is not None}
        shape = _encode(extras) if extras else b""
        if shape != self.ledger.shape or (self.ledger.last is None and not self.ledger.spans):
            prefix = TEMPLATE + len(shape) + sum(entry.bound for entry in self.system)
            self.ledger.reshape(shape, prefix)

    def cut(self, length: int) -> None:
        """Drops the entries from `length` on."""
        del self.entries[length:]
        self.ledger.cut(length)
        if length < self.start:  # the summary tells of messages that are gone
            self.start = 0
            self.set_summary("", 0)

    def answered_by(self, model: str) -> None:
        """Another model has another tokenizer, and perhaps another context."""
        ledger = self.ledger
        if model == ledger.model or not model:
            return
        if ledger.model:
            ledger.forget()
            self.system = [entry.uncounted() for entry in self.system]
            self.entries = [entry.uncounted() for entry in self.entries]
            ledger.shape = b"\0"
            if not self.fixed:
                self.context, self.ask = None, True
        ledger.model = model


def _with_summary(system: list[Entry], summary: str) -> list[Entry]:
    """One message with both, because many templates take a single system message only."""
    if not summary:
        return system
    text = f"{_SUMMARY}\n{summary}"
    if not system:
        return [entry_of(ChatMessage("system", text))]
    *others, last = system
    content = last.message.content
    if isinstance(content, list):
        parts = [*content, ChatMessageContent(text=f"\n\n{text}")]
        return [*others, entry_of(ChatMessage("system", parts))]
    return [*others, entry_of(ChatMessage("system", f"{content or ''}\n\n{text}"))]
