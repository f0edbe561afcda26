"""Options of a conversation, and their checked form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import uuid4

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
    request, which `send` and `stream` can override.
    """

    messages: Sequence[MessageLike]
    """Messages to begin with. Default: none."""
    on_overflow: Overflow
    """When the history no longer fits: "truncate" (default) leaves out the oldest turns,
    "summarize" has the model write a summary of them first, "raise" raises
    `ContextLengthError`. `conversation.messages` keeps everything.
    """
    keep_partial: bool
    """Keep what has arrived of a stream that breaks or is closed; otherwise drop its turn.
    Default True.
    """
    context_size: int | None
    """Tokens of prompt and answer together. Default: asked of the server once, when the
    conversation is longer than 512 tokens.
    """
    summary_prompt: str | None
    """The prompt that asks for a summary. Default: `tabbyapi.conversation.SUMMARY_PROMPT`."""
    session_id: str | None
    """Sent as the header `x-session-id`: where several servers share the work, all turns reach
    the one that has the conversation's prompt cache. Default: a random id; None sends none.
    """


class Settings(msgspec.Struct, kw_only=True):
    """Checked options of a conversation; see `ConversationOptions` and `Core.left_out`."""

    on_overflow: Overflow = "truncate"
    keep_partial: bool = True
    summary_prompt: str = SUMMARY_PROMPT
    session_id: str | None = msgspec.field(default_factory=lambda: uuid4().hex)
    params: dict[str, Any] = {}
    left_out: list[str] = []

    def __post_init__(self) -> None:
        if self.on_overflow not in _POLICIES:
            raise ValidationError(
                f"on_overflow is {self.on_overflow!r}, but must be one of {', '.join(_POLICIES)}",
                field="on_overflow",
            )
        if not isinstance(self.session_id, str | None):
            raise ValidationError(
                f"session_id must be a string or None, not {type(self.session_id).__name__}",
                field="session_id",
            )

    def request_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a request: the conversation's, then `params`, and its session."""
        merged = {**self.params, **params}
        headers = merged.get("extra_headers") or {}
        if self.session_id and isinstance(headers, Mapping):
            merged["extra_headers"] = {"x-session-id": self.session_id, **headers}
        return merged

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Make settings from `ConversationOptions`; other names are parameters of requests.

        Raises:
            ValidationError: an option that cannot be used.
        """
        own = {
            name: options[name]
            for name in ("on_overflow", "keep_partial", "summary_prompt")
            if options.get(name) is not None
        }
        if "session_id" in options:
            own["session_id"] = options["session_id"]
        apart = {"session_id", "on_overflow", "keep_partial", "summary_prompt", *_STATE}
        return cls(**own, params={k: v for k, v in options.items() if k not in apart})


_STATE = ("messages", "context_size")
"""Options that belong to the state of a conversation, not to its settings."""
