"""Answers of `POST /v1/chat/completions`, streamed and not.

Every field has a default and unknown fields are skipped, so an older or newer server does not
break decoding. `gc=False` keeps the structs of a stream out of the garbage collector: they hold
no cycles, and tracking them would cost more than decoding them.
"""

import msgspec

from .base import Value
from .messages import ChatMessage, ToolCall
from .usage import Timings, UsageStats

__all__ = [
    "ChatCompletionRespChoice",
    "ChatCompletionResponse",
    "ChatCompletionStreamChoice",
    "ChatCompletionStreamResponse",
    "ChatLogprobs",
    "Delta",
    "TokenLogprob",
    "TopLogprob",
]


class TopLogprob(Value, gc=False):
    """An alternative token. A probability of zero is sent as -1000."""

    token: str = ""
    token_id: int | None = None
    logprob: float | None = None


class TokenLogprob(Value, gc=False):
    """A token of the answer, its log probability and its alternatives, best first."""

    token: str = ""
    token_id: int | None = None
    logprob: float | None = None
    top_logprobs: list[TopLogprob] = []


class ChatLogprobs(Value, gc=False):
    """Log probabilities of the tokens of `content` (not of reasoning)."""

    content: list[TokenLogprob] | None = None


class ChatCompletionRespChoice(Value):
    """One answer.

    Attributes:
        finish_reason: "stop", "length" or "tool_calls". "tool_calls" may come without calls
            when the model's markup could not be read; see `eos_reason` for truncation.
        eos_reason: why generation ended: "stop_token", "stop_string", "max_new_tokens",
            "end_filter" (the schema or grammar was complete), "loop_detected"; None if it was
            aborted, or in a stream with usage, where the server leaves it out.
        stop_str: the stop string that was hit, or the text of the end token.
    """

    index: int = 0
    message: ChatMessage = msgspec.field(default_factory=lambda: ChatMessage("assistant"))
    finish_reason: str | None = None
    eos_reason: str | None = None
    stop_str: str | None = None
    logprobs: ChatLogprobs | None = None


class ChatCompletionResponse(Value):
    """The answer to a chat request.

    Attributes:
        id: the server's id of this completion.
        created: Unix time in seconds.
        model: name of the model that answered, whatever was asked for.
        choices: `n` answers, in order.
        usage: token counts and timings; all 0 and None, and False in an `if`, where the server
            sent none.
        timings: what llama.cpp measured, where the server sends it.
    """

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[ChatCompletionRespChoice] = []
    usage: UsageStats = msgspec.field(default_factory=UsageStats)
    timings: Timings | None = None

    def _repr_markdown_(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """Content of the first choice, "" if there is none."""
        return self.choices[0].message.text if self.choices else ""

    @property
    def reasoning(self) -> str:
        """Reasoning of the first choice, "" if there is none."""
        return (self.choices[0].message.reasoning_content or "") if self.choices else ""

    @property
    def message(self) -> ChatMessage:
        """The first choice's message; append it to the next request as it is."""
        return self.choices[0].message if self.choices else ChatMessage("assistant", "")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """Tool calls of the first choice, [] if there are none."""
        return (self.choices[0].message.tool_calls or []) if self.choices else []

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else None


class Delta(Value, gc=False):
    """The part of a message that one chunk adds. TabbyAPI sends no `role`."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    role: str | None = None


class ChatCompletionStreamChoice(Value, gc=False):
    """One choice's part of a chunk; `finish_reason` is None until the choice ends."""

    index: int = 0
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None
    eos_reason: str | None = None
    logprobs: ChatLogprobs | None = None


class ChatCompletionStreamResponse(Value, gc=False):
    """One chunk of a stream. `usage` comes with the last one only."""

    id: str = ""
    object: str = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChatCompletionStreamChoice] = []
    usage: UsageStats | None = None
    timings: Timings | None = None

    @property
    def text(self) -> str:
        """New content of the first choice in this chunk (its index may not be 0), or ""."""
        choices = self.choices
        return (choices[0].delta.content or "") if choices else ""

    @property
    def reasoning(self) -> str:
        """New reasoning of the first choice in this chunk, or ""."""
        choices = self.choices
        return (choices[0].delta.reasoning_content or "") if choices else ""
