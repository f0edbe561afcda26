"""Python client for TabbyAPI servers, and a local server that speaks the same protocol.

    import tabbyapi
    from tabbyapi import system, user

    with tabbyapi.Client("http://localhost:5000", api_key="...") as client:
        reply = client.chat.create([system("Be brief."), user("What is TabbyAPI?")])
        print(reply.text)

What is heavy to import (asyncio, conversations, tools, the local server) is imported when it is
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors, types
from ._client.aio import AsyncClient as AsyncClient
from ._client.sync import Client as Client
from ._streaming.sync import Stream as Stream
from ._version import __version__ as __version__
from .errors import *
from .types import *

if TYPE_CHECKING:
    from . import mcp as mcp
    from ._client.custom import RequestOptions as RequestOptions
    from ._services.auth import Permission as Permission
    from ._services.caller import TimeoutLike as TimeoutLike
    from ._services.chat import MessagesLike as MessagesLike
    from ._services.lora import LorasLike as LorasLike
    from ._services.raw import RawResponse as RawResponse
    from ._services.sampling import OverridesLike as OverridesLike
    from ._services.tokens import TextOrMessages as TextOrMessages
    from ._streaming.aio import AsyncStream as AsyncStream
    from ._transport.base import Answer as Answer
    from .batch import BatchTotals as BatchTotals
    from .batch import run_batch as run_batch
    from .conversation import AsyncConversation as AsyncConversation
    from .conversation import AsyncConversationStream as AsyncConversationStream
    from .conversation import ContextUse as ContextUse
    from .conversation import Conversation as Conversation
    from .conversation import ConversationStream as ConversationStream
    from .conversation.settings import ConversationOptions as ConversationOptions
    from .images import image as image
    from .local_server import LocalServer as LocalServer
    from .many import AsyncPrompts as AsyncPrompts
    from .many import ManyParams as ManyParams
    from .many import MapResult as MapResult
    from .many import Prompts as Prompts
    from .structured import AsyncParsedStream as AsyncParsedStream
    from .structured import Parsed as Parsed
    from .structured import ParsedStream as ParsedStream
    from .structured import schema_of as schema_of
    from .tools import PendingCall as PendingCall
    from .tools import Tool as Tool
    from .tools import ToolResult as ToolResult
    from .tools import ToolRun as ToolRun
    from .tools import tool_of as tool_of
    from .tools.run import RunParams as RunParams

_LAZY = {
    "RawResponse": "_services.raw",
    "RequestOptions": "_client.custom",
    "Answer": "_transport.base",
    "RunParams": "tools.run",
    "Prompts": "many",
    "ManyParams": "many",
    "AsyncPrompts": "many",
    "ConversationOptions": "conversation.settings",
    "TextOrMessages": "_services.tokens",
    "OverridesLike": "_services.sampling",
    "LorasLike": "_services.lora",
    "TimeoutLike": "_services.caller",
    "MessagesLike": "_services.chat",
    "Permission": "_services.auth",
    "AsyncStream": "_streaming.aio",
    "BatchTotals": "batch",
    "run_batch": "batch",
    "AsyncConversation": "conversation",
    "AsyncConversationStream": "conversation",
    "ContextUse": "conversation",
    "Conversation": "conversation",
    "ConversationStream": "conversation",
    "image": "images",
    "LocalServer": "local_server",
    "MapResult": "many",
    "AsyncParsedStream": "structured",
    "Parsed": "structured",
    "ParsedStream": "structured",
    "schema_of": "structured",
    "PendingCall": "tools",
    "Tool": "tools",
    "ToolResult": "tools",
    "ToolRun": "tools",
    "tool_of": "tools",
}
"""Names that are imported when they are first used, and the module of each."""

if not TYPE_CHECKING:  # checkers know the public names by their imports
    __all__ = ["AsyncClient", "Client", "Stream", "__version__", *_LAZY]
    __all__ += errors.__all__ + types.__all__


def __getattr__(name: str) -> Any:
    if name == "mcp":  # a module, for `tabbyapi.mcp.connect`
        from importlib import import_module

        return import_module(f"{__name__}.mcp")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
