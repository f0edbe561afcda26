"""Wire types: what goes over the network, as msgspec Structs, and the parameters of requests.

Both halves, client and server, use them. This package imports nothing else of the project.
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
]
