"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. This package imports nothing else of the project.
Types of the services beside chat are imported when they are first used. Annotations are not
postponed in these modules: msgspec and typing would compile each of them, when it is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .chat import (
    ChatCompletionRespChoice,
    ChatCompletionResponse,
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponse,
    ChatLogprobs,
    Delta,
    TokenLogprob,
    TopLogprob,
)
from .limits import Limits
from .messages import (
    ChatImageURL,
    ChatMessage,
    ChatMessageContent,
    ChatMessageRole,
    ContentLike,
    FunctionCall,
    MessageLike,
    ToolCall,
    assistant,
    system,
    tool,
    user,
)
from .params import CallOptions, ChatParams, GenerationParams
from .requests import ChatCompletionRequest
from .timeout import Timeout
from .usage import UsageStats

if TYPE_CHECKING:
    from .completions import CompletionChoice as CompletionChoice
    from .completions import CompletionLogprobs as CompletionLogprobs
    from .completions import CompletionResponse as CompletionResponse
    from .completions import CompletionStreamChoice as CompletionStreamChoice
    from .completions import CompletionStreamResponse as CompletionStreamResponse
    from .embeddings import Embedding as Embedding
    from .embeddings import EmbeddingResponse as EmbeddingResponse
    from .embeddings import EmbeddingUsage as EmbeddingUsage
    from .health import HealthIssue as HealthIssue
    from .health import HealthStatus as HealthStatus
    from .loras import LoraCard as LoraCard
    from .loras import LoraLoadResponse as LoraLoadResponse
    from .loras import LoraScaling as LoraScaling
    from .models import DownloadParams as DownloadParams
    from .models import LoadEmbeddingParams as LoadEmbeddingParams
    from .models import LoadParams as LoadParams
    from .models import LoadProgress as LoadProgress
    from .models import ModelCard as ModelCard
    from .models import ModelParameters as ModelParameters
    from .models import ServerProps as ServerProps
    from .sampling import SamplerOverride as SamplerOverride
    from .sampling import SamplerOverrides as SamplerOverrides
    from .tokens import DecodeParams as DecodeParams
    from .tokens import EncodeParams as EncodeParams

_HOMES = {
    "completions": "CompletionChoice CompletionLogprobs CompletionResponse "
    "CompletionStreamChoice CompletionStreamResponse",
    "embeddings": "Embedding EmbeddingResponse EmbeddingUsage",
    "health": "HealthIssue HealthStatus",
    "loras": "LoraCard LoraLoadResponse LoraScaling",
    "models": "DownloadParams LoadEmbeddingParams LoadParams LoadProgress ModelCard "
    "ModelParameters ServerProps",
    "sampling": "SamplerOverride SamplerOverrides",
    "tokens": "DecodeParams EncodeParams",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "CallOptions",
    "ChatCompletionRequest",
    "ChatCompletionRespChoice",
    "ChatCompletionResponse",
    "ChatCompletionStreamChoice",
    "ChatCompletionStreamResponse",
    "ChatImageURL",
    "ChatLogprobs",
    "ChatMessage",
    "ChatMessageContent",
    "ChatMessageRole",
    "ChatParams",
    "ContentLike",
    "Delta",
    "FunctionCall",
    "GenerationParams",
    "Limits",
    "MessageLike",
    "Timeout",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "UsageStats",
    "assistant",
    "system",
    "tool",
    "user",
    *_HOME_OF,
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
