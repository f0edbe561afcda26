"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. May import errors.py, and nothing else of the project.
Annotations are not postponed in these modules: msgspec and typing would compile each of them,
when it is imported.
"""

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
from .completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionResponse,
    CompletionStreamChoice,
    CompletionStreamResponse,
)
from .embeddings import (
    Embedding,
    EmbeddingResponse,
    EmbeddingUsage,
)
from .health import (
    HealthIssue,
    HealthStatus,
)
from .loras import (
    LoraCard,
    LoraLoadResponse,
    LoraScaling,
)
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
from .models import (
    LoadProgress,
    ModelCard,
    ModelParameters,
    ServerProps,
)
from .options import (
    Limits,
    Retry,
    RetryPolicy,
    Timeout,
)
from .params import (
    CallOptions,
    ChatParams,
    DecodeParams,
    DownloadParams,
    EmbeddingParams,
    EncodeParams,
    GenerationParams,
    LoadEmbeddingParams,
    LoadParams,
    LoraParams,
    SamplingParams,
)
from .requests import (
    ChatCompletionRequest,
)
from .sampling import (
    SamplerOverride,
    SamplerOverrides,
)
from .usage import (
    UsageStats,
)

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
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionResponse",
    "CompletionStreamChoice",
    "CompletionStreamResponse",
    "ContentLike",
    "DecodeParams",
    "Delta",
    "DownloadParams",
    "Embedding",
    "EmbeddingParams",
    "EmbeddingResponse",
    "EmbeddingUsage",
    "EncodeParams",
    "FunctionCall",
    "GenerationParams",
    "HealthIssue",
    "HealthStatus",
    "Limits",
    "LoadEmbeddingParams",
    "LoadParams",
    "LoadProgress",
    "LoraCard",
    "LoraLoadResponse",
    "LoraParams",
    "LoraScaling",
    "MessageLike",
    "ModelCard",
    "ModelParameters",
    "Retry",
    "RetryPolicy",
    "SamplerOverride",
    "SamplerOverrides",
    "SamplingParams",
    "ServerProps",
    "Timeout",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "UsageStats",
    "assistant",
    "system",
    "tool",
    "user",
]
