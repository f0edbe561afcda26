"""What clients may send: pydantic models, whose errors and coercions are the real server's.

Field order is the order in which errors are reported. Where a field has several names, the first
one present wins, even if it is null. A null means "not given" to everything that reads these.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self
from uuid import uuid4

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "ChatCompletionMessage",
    "ChatCompletionMessagePart",
    "ChatCompletionRequest",
    "GenerationRequest",
    "NamedToolChoice",
    "ParityChatCompletionRequest",
    "ToolSpec",
]


def _named(*names: str) -> Any:
    return Field(None, validation_alias=AliasChoices(*names))


def _none_as(value: Any) -> BeforeValidator:
    """A null counts as this value."""
    return BeforeValidator(lambda given: value if given is None else given)


NotNegative = Annotated[int, Field(ge=0)]
NotNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ChatCompletionStreamOptions(BaseModel):
    include_usage: bool | None = False


class CompletionResponseFormat(BaseModel):
    type: str = "text"
    json_schema: Any | None = None


class SamplerRequest(BaseModel):
    """Section "sampling and common fields" of the protocol."""

    model_config = ConfigDict(allow_inf_nan=False)

    max_tokens: NotNegative | None = _named("max_tokens", "max_completion_tokens", "max_length")
    min_tokens: NotNegative | None = _named("min_tokens", "min_length")
    stop: str | list[str | int] | None = _named("stop", "stop_sequence")
    banned_strings: str | list[str] | None = None
    banned_tokens: list[int] | str | None = _named("banned_tokens", "custom_token_bans")
    allowed_tokens: list[int] | str | None = _named("allowed_tokens", "allowed_token_ids")
    token_healing: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    temperature_last: bool | None = None
    smoothing_factor: NotNegativeFloat | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    top_p: Share | None = None
    top_a: float | None = None
    min_p: float | None = None
    tfs: float | None = None
    typical: Annotated[float, Field(gt=0, le=1)] | None = _named("typical", "typical_p")
    skew: float | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    frequency_penalty: NotNegativeFloat | None = None
    presence_penalty: NotNegativeFloat | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = _named(
        "repetition_penalty", "rep_pen"
    )
    penalty_range: int | None = _named(
        "penalty_range", "repetition_range", "repetition_penalty_range", "rep_pen_range"
    )
    repetition_decay: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_range: int | None = _named("dry_range", "dry_penalty_last_n")
    dry_sequence_breakers: str | list[str] | None = None
    mirostat_mode: int | None = _named("mirostat_mode", "mirostat")
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    add_bos_token: bool | None = None
    ban_eos_token: bool | None = _named("ban_eos_token", "ignore_eos")
    logit_bias: dict[int, float] | None = None
    json_schema: Any | None = None
    regex_pattern: str | None = None
    grammar_string: str | None = None
    max_temp: NotNegativeFloat | None = _named("max_temp", "dynatemp_high")
    min_temp: NotNegativeFloat | None = _named("min_temp", "dynatemp_low")
    temp_exponent: NotNegativeFloat | None = _named("temp_exponent", "dynatemp_exponent")
    logprobs: NotNegative | None = None
    top_logprobs: NotNegative | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    loop_detect_window: NotNegative | None = 800
    # Not of the real protocol, where it is ignored like any unknown field: hence never refused.
    seed: Any | None = None


class GenerationRequest(SamplerRequest):
    """What chat and text completions share."""

    model: str | None = None
    stream: bool | None = False
    stream_options: ChatCompletionStreamOptions | None = None
    response_format: CompletionResponseFormat | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    best_of: int | None = None
    echo: bool | None = False
    suffix: str | None = None
    user: str | None = None

    def as_tabbyapi_reads(self) -> Self:
        """The request without what TabbyAPI accepts and ignores."""
        form = self.response_format
        ignored = {"response_format"} if form is not None and form.type == "json_object" else set()
        if getattr(self, "tool_choice", "none") != "none":
            ignored.add("tool_choice")
        return self.model_copy(update=dict.fromkeys(ignored))

    @property
    def wants_usage(self) -> bool:
        """True if usage is asked for, streamed or not."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatCompletionImageUrl(BaseModel):
    url: str


class ChatCompletionMessagePart(BaseModel):
    type: Literal["text", "image_url"] = "text"
    text: str | None = None
    image_url: ChatCompletionImageUrl | None = None


def _as_json(arguments: Any) -> Any:
    """Arguments that are no text yet, as some clients send them back."""
    return json.dumps(arguments or {}) if arguments is None or arguments == {} else arguments


class Tool(BaseModel):
    name: str
    arguments: Annotated[str, BeforeValidator(_as_json)]


class ToolCall(BaseModel):
    id: str = Field(default_factory=lambda: f"call_{uuid4().hex[:24]}")
    function: Tool
    type: Literal["function"] = "function"
    index: int | None = None


class Function(BaseModel):
    """A function that the model may call; without parameters it has no arguments."""

    name: str
    description: Annotated[str, _none_as("")] = ""
    parameters: Annotated[dict[str, Any], _none_as({})] = Field(default_factory=dict)


class ParityFunction(Function):
    """As TabbyAPI takes it."""

    description: str
    parameters: dict[str, Any]


class ToolSpec(BaseModel):
    function: Function
    type: Literal["function"] = "function"


class ParityToolSpec(ToolSpec):
    """As TabbyAPI takes it."""

    function: ParityFunction
    type: Literal["function"]


class NamedToolFunction(BaseModel):
    name: str


class NamedToolChoice(BaseModel):
    function: NamedToolFunction
    type: Literal["function"] = "function"


class ReasoningOptions(BaseModel):
    effort: str | None = None
    enabled: bool | None = None
    max_tokens: int | None = None


class ChatCompletionMessage(BaseModel):
    role: str = "user"
    content: str | list[ChatCompletionMessagePart] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content without images."""
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""


class ChatCompletionRequest(GenerationRequest):
    """`POST /v1/chat/completions`."""

    messages: list[ChatCompletionMessage]
    prompt_template: str | None = None
    add_generation_prompt: bool | None = True
    template_vars: dict[str, Any] | None = _named("template_vars", "chat_template_kwargs")
    reasoning_effort: str | None = None
    enable_thinking: bool | None = None
    verbosity: str | None = None
    reasoning: ReasoningOptions | None = None
    reasoning_budget_tokens: int | None = _named(
        "reasoning_budget_tokens", "reasoning_budget", "thinking_budget", "thinking_token_budget"
    )
    reasoning_budget_message: str | None = None
    response_prefix: str | None = None
    continue_final_message: bool | None = False
    tools: list[ToolSpec] | None = None
    functions: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = True


class ParityChatCompletionRequest(ChatCompletionRequest):
    """As TabbyAPI takes it."""

    tools: list[ParityToolSpec] | None = None  # type: ignore[assignment]
