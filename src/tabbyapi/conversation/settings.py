"""How a conversation behaves: the options that its makers take, and their checked form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import ValidationError
from ..tools.run import RunParams
from ..types.messages import MessageLike

__all__ = ["SUMMARY_PROMPT", "ConversationOptions", "Overflow", "Settings"]

Overflow: TypeAlias = Literal["truncate", "summarize", "raise"]

_POLICIES = ("truncate", "summarize", "raise")

SUMMARY_PROMPT = (
    "Summarize our conversation so far for your own later use, because it will not be shown to "
    "you again. Keep names, numbers, decisions, open questions and what I asked of you. Write "
    "plain sentences in the language of the conversation, and nothing else."
)


class ConversationOptions(RunParams, total=False):
    """Options of `client.conversation`: those of the conversation, then parameters of every
    request. What is given to `send` or `stream` goes before them.
    """

    messages: Sequence[MessageLike]
    """What was said before, if anything."""
    on_overflow: Overflow
    """When the history no longer fits: "truncate" (default) leaves out the oldest turns,
    "summarize" has the model write a summary of them first, "raise" raises
    `ContextLengthError`. `conversation.messages` keeps everything.
    """
    keep_partial: bool
    """Whether a stream that breaks or is closed leaves what has arrived in the history;
    otherwise its whole turn is dropped. Default True.
    """
    context_size: int | None
    """Tokens of prompt and answer together. Default: asked of the server once, when the
    conversation is longer than 512 tokens.
    """
    summary_prompt: str | None
    """How the summary is asked for. Default: `tabbyapi.conversation.SUMMARY_PROMPT`."""


class Settings(msgspec.Struct, kw_only=True):
    """How a conversation behaves; see `Client.conversation`."""

    on_overflow: Overflow = "truncate"
    keep_partial: bool = True
    summary_prompt: str = SUMMARY_PROMPT
    params: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.on_overflow not in _POLICIES:
            raise ValidationError(
                f"on_overflow is {self.on_overflow!r}, but must be one of {', '.join(_POLICIES)}",
                field="on_overflow",
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """From `ConversationOptions`; what belongs to no option is a parameter of requests.

        Raises:
            ValidationError: an option that cannot be used.
        """
        own = {
            name: options[name]
            for name in ("on_overflow", "keep_partial", "summary_prompt")
            if options.get(name) is not None
        }
        apart = {*own, "on_overflow", "keep_partial", "summary_prompt", *_STATE}
        return cls(**own, params={k: v for k, v in options.items() if k not in apart})


_STATE = ("messages", "context_size")
"""Options that a conversation begins with; they are no settings."""
