"""Python client for TabbyAPI servers, and a local server that speaks the same protocol.

    import tabbyapi
    from tabbyapi import system, user

    with tabbyapi.Client("http://localhost:5000", api_key="...") as client:
        reply = client.chat.create([system("Be brief."), user("What is TabbyAPI?")])
        print(reply.text)

Names are imported when they are first used, so that `import tabbyapi` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .async_streams import AsyncStream as AsyncStream
    from .client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .errors import APIError as APIError
    from .errors import AuthenticationError as AuthenticationError
    from .errors import ConnectError as ConnectError
    from .errors import ContextLengthError as ContextLengthError
    from .errors import InvalidRequestError as InvalidRequestError
    from .errors import ModelNotLoadedError as ModelNotLoadedError
    from .errors import NotFoundError as NotFoundError
    from .errors import OutputError as OutputError
    from .errors import PermissionDeniedError as PermissionDeniedError
    from .errors import RateLimitError as RateLimitError
    from .errors import RequestError as RequestError
    from .errors import RequestTimeout as RequestTimeout
    from .errors import ServerError as ServerError
    from .errors import StreamClosedError as StreamClosedError
    from .errors import StreamContextLengthError as StreamContextLengthError
    from .errors import StreamError as StreamError
    from .errors import StreamInterruptedError as StreamInterruptedError
    from .errors import StreamTimeout as StreamTimeout
    from .errors import TabbyError as TabbyError
    from .errors import ToolLoopError as ToolLoopError
    from .errors import ValidationError as ValidationError
    from .images import image as image
    from .protocol.retry import Retry as Retry
    from .protocol.retry import RetryPolicy as RetryPolicy
    from .server.local import LocalServer as LocalServer
    from .streams import Stream as Stream
    from .structured import Parsed as Parsed
    from .structured import schema_of as schema_of
    from .tools import Tool as Tool
    from .tools import ToolRun as ToolRun
    from .tools import tool_of as tool_of
    from .types.chat import ChatCompletionRespChoice as ChatCompletionRespChoice
    from .types.chat import ChatCompletionResponse as ChatCompletionResponse
    from .types.chat import ChatCompletionStreamChoice as ChatCompletionStreamChoice
    from .types.chat import ChatCompletionStreamResponse as ChatCompletionStreamResponse
    from .types.chat import ChatLogprobs as ChatLogprobs
    from .types.chat import Delta as Delta
    from .types.chat import TokenLogprob as TokenLogprob
    from .types.chat import TopLogprob as TopLogprob
    from .types.completions import CompletionChoice as CompletionChoice
    from .types.completions import CompletionLogprobs as CompletionLogprobs
    from .types.completions import CompletionResponse as CompletionResponse
    from .types.completions import CompletionStreamChoice as CompletionStreamChoice
    from .types.completions import CompletionStreamResponse as CompletionStreamResponse
    from .types.embeddings import Embedding as Embedding
    from .types.embeddings import EmbeddingResponse as EmbeddingResponse
    from .types.embeddings import EmbeddingUsage as EmbeddingUsage
    from .types.health import HealthIssue as HealthIssue
    from .types.health import HealthStatus as HealthStatus
    from .types.limits import Limits as Limits
    from .types.loras import LoraCard as LoraCard
    from .types.loras import LoraLoadResponse as LoraLoadResponse
    from .types.loras import LoraScaling as LoraScaling
    from .types.messages import ChatImageURL as ChatImageURL
    from .types.messages import ChatMessage as ChatMessage
    from .types.messages import ChatMessageContent as ChatMessageContent
    from .types.messages import ChatMessageRole as ChatMessageRole
    from .types.messages import FunctionCall as FunctionCall
    from .types.messages import ToolCall as ToolCall
    from .types.messages import assistant as assistant
    from .types.messages import system as system
    from .types.messages import tool as tool
    from .types.messages import user as user
    from .types.models import LoadProgress as LoadProgress
    from .types.models import ModelCard as ModelCard
    from .types.models import ModelParameters as ModelParameters
    from .types.models import ServerProps as ServerProps
    from .types.requests import ChatCompletionRequest as ChatCompletionRequest
    from .types.sampling import SamplerOverride as SamplerOverride
    from .types.sampling import SamplerOverrides as SamplerOverrides
    from .types.timeout import Timeout as Timeout
    from .types.usage import UsageStats as UsageStats

_HOMES = {
    "client": "AsyncClient Client",
    "errors": "APIError AuthenticationError ConnectError ContextLengthError InvalidRequestError "
    "ModelNotLoadedError NotFoundError OutputError PermissionDeniedError RateLimitError "
    "RequestError RequestTimeout ServerError StreamClosedError StreamContextLengthError "
    "StreamError StreamInterruptedError StreamTimeout TabbyError ToolLoopError ValidationError",
    "images": "image",
    "protocol.retry": "Retry RetryPolicy",
    "server.local": "LocalServer",
    "async_streams": "AsyncStream",
    "streams": "Stream",
    "structured": "Parsed schema_of",
    "tools": "Tool ToolRun tool_of",
    "types.chat": "ChatCompletionRespChoice ChatCompletionResponse ChatCompletionStreamChoice "
    "ChatCompletionStreamResponse ChatLogprobs Delta TokenLogprob TopLogprob",
    "types.messages": "ChatImageURL ChatMessage ChatMessageContent ChatMessageRole FunctionCall "
    "ToolCall assistant system tool user",
    "types.requests": "ChatCompletionRequest",
    "types.completions": "CompletionChoice CompletionLogprobs CompletionResponse "
    "CompletionStreamChoice CompletionStreamResponse",
    "types.embeddings": "Embedding EmbeddingResponse EmbeddingUsage",
    "types.health": "HealthIssue HealthStatus",
    "types.limits": "Limits",
    "types.loras": "LoraCard LoraLoadResponse LoraScaling",
    "types.models": "LoadProgress ModelCard ModelParameters ServerProps",
    "types.sampling": "SamplerOverride SamplerOverrides",
    "types.timeout": "Timeout",
    "types.usage": "UsageStats",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        if name == "errors" or name == "types":
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
