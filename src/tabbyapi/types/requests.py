"""A chat request prepared as a value."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .messages import MessageLike

__all__ = ["ChatCompletionRequest"]


class ChatCompletionRequest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The body of `POST /v1/chat/completions`, for `client.chat.create(request)`.

    The fields mean what `tabbyapi.types.ChatParams` says of them. None means "not given": it is
    left out of the JSON. `stream` is set by the method that sends the request.
    """

    messages: Sequence[MessageLike]
    stream: bool | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: str | Sequence[str | int] | None = None
    banned_strings: str | Sequence[str] | None = None
    banned_tokens: Sequence[int] | str | None = None
    loop_detect_window: int | None = None
    token_healing: bool | None = None
    temperature: float | None = None
    temperature_last: bool | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    penalty_range: int | None = None
    repetition_decay: int | None = None
    logit_bias: Mapping[int | str, float] | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    logprobs: int | bool | None = None
    top_logprobs: int | None = None
    add_bos_token: bool | None = None
    json_schema: Any = None
    regex_pattern: str | None = None
    grammar_string: str | None = None
    response_format: Mapping[str, Any] | type | None = None
    allowed_tokens: Sequence[int] | str | None = None
    smoothing_factor: float | None = None
    top_a: float | None = None
    tfs: float | None = None
    typical: float | None = None
    skew: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_range: int | None = None
    dry_sequence_breakers: str | Sequence[str] | None = None
    mirostat_mode: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    ban_eos_token: bool | None = None
    min_temp: float | None = None
    max_temp: float | None = None
    temp_exponent: float | None = None
    model: str | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    user: str | None = None
    stream_options: Mapping[str, Any] | None = None
    tools: Sequence[Any] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Sequence[Mapping[str, Any]] | None = None
    template_vars: Mapping[str, Any] | None = None
    add_generation_prompt: bool | None = None
    response_prefix: str | None = None
    continue_final_message: bool | None = None
    prompt_template: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    enable_thinking: bool | None = None
    reasoning: Mapping[str, Any] | None = None
    reasoning_budget_tokens: int | None = None
    reasoning_budget_message: str | None = None
