"""Conversations: a history that is kept, and kept within the model's context.

`client.conversation(...)` is the front door. May import services/, tools/ and what is below
them. `entries`, `ledger`, `state` and `fitting` are without I/O; `twins` and `streams` do it.
"""

from .conversation import AsyncConversation, Conversation
from .core import ContextUse
from .streams import AsyncConversationStream, ConversationStream

__all__ = [
    "AsyncConversation",
    "AsyncConversationStream",
    "ContextUse",
    "Conversation",
    "ConversationStream",
]
