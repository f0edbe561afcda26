"""The messages of a conversation, each checked and encoded once, and where turns begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .._protocol.requests.messages import encode_message
from ..errors import ValidationError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ChatMessage, MessageLike, ToolCall

__all__ = [
    "IMAGE_TOKENS",
    "UNANSWERED",
    "Entry",
    "entries_of",
    "entry_of",
    "open_calls",
    "reply_entry",
    "turn_start",
    "turn_starts",
]

IMAGE_TOKENS = 2048
"""Tokens allowed for an image until the server has counted the message it is in."""

UNANSWERED = "Not called: there is no result."
"""Result put in for a tool call that was left without one when the user went on."""

_AROUND = 8  # tokens a template may set around a message, beyond what its JSON form has
_decode = msgspec.json.Decoder(ChatMessage).decode


class Entry(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        message: normalised.
        raw: its JSON, sent as it is at every turn.
        size: upper bound of its tokens by its length: a token is a byte of text at least, and
            the message's JSON is longer than its text and the template's marks around it.
        bound: best upper bound of its tokens: `size`, or less once it was counted.
    """

    message: ChatMessage
    raw: msgspec.Raw
    size: int
    bound: int

    @property
    def role(self) -> str:
        return self.message.role

    @property
    def counted(self) -> bool:
        """True if its tokens were counted, not only estimated by its length."""
        return self.bound < self.size

    @property
    def plain(self) -> str:
        """All text of it that the prompt may hold, for counting."""
        message = self.message
        parts = [message.reasoning_content or "", message.text]
        for call in message.tool_calls or ():
            parts += [call.function.name, call.function.arguments]
        return "\n".join(part for part in parts if part)

    @property
    def images(self) -> int:
        content = self.message.content
        if content is None or isinstance(content, str):
            return 0
        return sum(1 for part in content if not isinstance(part, str) and part.image_url)

    def at_most(self, tokens: int) -> Entry:
        """The entry with `bound` lowered to `tokens`, if that is lower."""
        return self if tokens >= self.bound else msgspec.structs.replace(self, bound=tokens)

    def uncounted(self) -> Entry:
        """The entry without the count of another model's tokenizer."""
        return msgspec.structs.replace(self, bound=self.size)


def entry_of(message: MessageLike, field: str = "content") -> Entry:
    """Check and encode a message.

    Raises:
        ValidationError: naming the field.
    """
    raw = encode_message(message, field)
    stored = _decode(raw)
    size = memoryview(raw).nbytes + _AROUND
    content = stored.content
    if content is not None and not isinstance(content, str):
        for part in content:
            if not isinstance(part, str) and part.image_url is not None:
                size += IMAGE_TOKENS - len(part.image_url.url)
    return Entry(stored, raw, size, size)


def entries_of(content: Any) -> list[Entry]:
    """Make entries of what `send` takes: a user's text or parts, a message, or several.

    Raises:
        ValidationError: it is none of these, or cannot be sent.
    """
    if isinstance(content, ChatMessage) or (isinstance(content, Mapping) and "role" in content):
        return [entry_of(content)]
    if _are_messages(content):
        return [entry_of(message, f"content[{i}]") for i, message in enumerate(content)]
    if isinstance(content, str) or (
        isinstance(content, Sequence) and not isinstance(content, bytes)
    ):
        return [entry_of({"role": "user", "content": content}, "content")]
    raise ValidationError(
        f"content is {type(content).__name__}: give text, a list of parts, or messages such as "
        "tool(result, tool_call_id=...)",
        field="content",
    )


def _are_messages(content: Any) -> bool:
    if isinstance(content, str | bytes) or not isinstance(content, Sequence) or not content:
        return False
    return all(
        isinstance(item, ChatMessage) or (isinstance(item, Mapping) and "role" in item)
        for item in content
    )


def reply_entry(response: ChatCompletionResponse, *, complete: bool = True) -> Entry:
    """The message of an answer, as it goes into the history.

    Calls that name no function cannot be sent again and are left out, and so are all calls of
    an answer that was cut off: they will not get results.
    """
    message = response.message
    calls: list[ToolCall] = []
    if complete:
        calls = [call for call in message.tool_calls or () if call.function.name]
    content = message.content if message.content or calls else ""
    entry = entry_of(
        ChatMessage(
            "assistant",
            content,
            reasoning_content=message.reasoning_content,
            tool_calls=calls or None,
        )
    )
    usage = response.usage
    if not complete or not usage.completion_tokens:
        return entry
    # U+FFFD stands for a byte that was no text: one token when made, up to three when read.
    broken = entry.plain.count("\ufffd")
    return entry.at_most(usage.completion_tokens + 2 * broken + _AROUND * (2 + 2 * len(calls)))


def turn_starts(entries: Sequence[Entry]) -> list[int]:
    """Indices where turns begin: the first entry and each user's message.

    The calls an assistant makes and their results are always in the same turn.
    """
    return [i for i, entry in enumerate(entries) if i == 0 or entry.role == "user"]


def turn_start(entries: Sequence[Entry], index: int) -> int:
    """Index where the turn that holds `index` begins."""
    while index > 0 and entries[index].role != "user":
        index -= 1
    return max(index, 0)


def open_calls(entries: Sequence[Entry]) -> list[ToolCall]:
    """Calls at the end of the history that have no result."""
    answered: set[str | None] = set()
    results = 0
    for entry in reversed(entries):
        if entry.role == "tool":
            answered.add(entry.message.tool_call_id)
            results += 1
            continue
        calls = entry.message.tool_calls if entry.role == "assistant" else None
        if not calls:
            return []
        if None in answered:  # results without ids answer the calls in their order
            return calls[results:]
        return [call for call in calls if call.id not in answered]
    return []


def closing_entries(entries: Sequence[Entry], new: Iterable[Entry]) -> list[Entry]:
    """Results for calls that `new` leaves unanswered: templates want one for each call."""
    first = next(iter(new), None)
    if first is None or first.role == "tool":
        return []
    return [
        entry_of(ChatMessage("tool", UNANSWERED, tool_call_id=call.id))
        for call in open_calls(entries)
    ]
