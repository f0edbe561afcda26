"""Messages of a conversation, as they go over the wire in both directions."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from .base import Value

__all__ = [
    "ChatImageURL",
    "ChatMessage",
    "ChatMessageContent",
    "ChatMessageRole",
    "ContentLike",
    "FunctionCall",
    "MessageLike",
    "ToolCall",
    "assistant",
    "system",
    "tool",
    "user",
]


class ChatMessageRole(StrEnum):
    """The usual roles. The bare strings are accepted wherever a role is.

    Other strings are too: the chat template of the model decides which roles it knows.
    """

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"

    def __repr__(self) -> str:
        return repr(self.value)


class ChatImageURL(Value, omit_defaults=True):
    """Address of an image: an http(s) URL that the *server* fetches, or a `data:` URL."""

    url: str


class ChatMessageContent(Value, omit_defaults=True):
    """One part of a message: `text`, or `image_url`."""

    # A factory, because a plain default would be left out of the JSON.
    type: str = msgspec.field(default_factory=lambda: "text")
    text: str | None = None
    image_url: ChatImageURL | None = None


class FunctionCall(Value, omit_defaults=True):
    """The function a model wants called; `arguments` is JSON text, not always valid."""

    name: str = ""
    arguments: str = msgspec.field(default_factory=str)


class ToolCall(Value, omit_defaults=True):
    """A tool call in an assistant's message."""

    id: str | None = None
    function: FunctionCall = msgspec.field(default_factory=FunctionCall)
    type: str = msgspec.field(default_factory=lambda: "function")
    index: int | None = None


class ChatMessage(Value, omit_defaults=True):
    """One message.

    Attributes:
        role: a `ChatMessageRole`, or any string that the chat template knows.
        content: text, a list of parts, or None (an assistant that only called tools).
        reasoning_content: the model's reasoning, where the server separates it.
        tool_calls: calls the assistant wants made.
        tool_call_id: in a `tool` message, the call it answers.
    """

    role: str = msgspec.field(default_factory=lambda: "user")
    content: str | list[ChatMessageContent | str] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of the message: all text parts joined, "" if there is none."""
        content = self.content
        if content is None:
            return ""
        if isinstance(content, str):
            return content
        return "".join(p if isinstance(p, str) else p.text or "" for p in content)

    def _repr_markdown_(self) -> str:
        return self.text


ContentLike: TypeAlias = str | Sequence[ChatMessageContent | str | Mapping[str, Any]]
"""What a message's content may be given as."""

MessageLike: TypeAlias = ChatMessage | Mapping[str, Any]
"""A message: `ChatMessage`, one of the helpers below, or a plain dict."""


def _content(content: ContentLike | None) -> Any:
    return content if content is None or isinstance(content, str) else list(content)


def system(content: ContentLike) -> ChatMessage:
    """A system message: instructions, context or limits for the assistant."""
    return ChatMessage(ChatMessageRole.SYSTEM, _content(content))


def user(content: ContentLike, *parts: ChatMessageContent | str) -> ChatMessage:
    """A user's message: text, or text and image parts: `user("What is this?", image(path))`."""
    if not parts:
        return ChatMessage(ChatMessageRole.USER, _content(content))
    first = [content] if isinstance(content, str) else list(content)
    return ChatMessage(ChatMessageRole.USER, _content([*first, *parts]))


def assistant(
    content: ContentLike | None = None,
    *,
    tool_calls: Sequence[ToolCall] | None = None,
    reasoning_content: str | None = None,
) -> ChatMessage:
    """An assistant's message: an earlier answer, with the tool calls it made."""
    return ChatMessage(
        ChatMessageRole.ASSISTANT,
        _content(content),
        reasoning_content=reasoning_content,
        tool_calls=list(tool_calls) if tool_calls else None,
    )


def tool(content: ContentLike, *, tool_call_id: str | None = None) -> ChatMessage:
    """The result of a tool call; `tool_call_id` is the `id` of the call it answers."""
    return ChatMessage(ChatMessageRole.TOOL, _content(content), tool_call_id=tool_call_id)
