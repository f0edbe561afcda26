"""Conversations that keep their history, and keep it within the model's context.

`client.conversation(...)` makes one. May import `_services`, `tools` and the layers below them.
`entries`, `token_counts`, `state` and `fitting` do no I/O; `conversation` and `streams` do it.
"""

from .conversation import AsyncConversation, Conversation
from .core import ContextUse
from .settings import SUMMARY_PROMPT
from .streams import AsyncConversationStream, ConversationStream

__all__ = [
    "SUMMARY_PROMPT",
    "AsyncConversation",
    "AsyncConversationStream",
    "ContextUse",
    "Conversation",
    "ConversationStream",
]
