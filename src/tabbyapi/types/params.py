"""The parameters of generation requests, described once.

`TypedDict`s for `**params: Unpack[...]`: every method that takes these parameters (sync, async,
streams, conversations) completes and checks them without repeating them. What is not given, or
is None, is not sent: an explicit null breaks the real server. Zero and False are sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from .options import Timeout

__all__ = ["CallOptions", "ChatParams", "GenerationParams"]


class CallOptions(TypedDict, total=False):
    """What a call takes beside the fields it sends."""

    timeout: Timeout | float | None
    """Limits for this call: seconds in all, or a `Timeout`. Default: the client's."""
    extra_body: Mapping[str, Any] | None
    """Fields to add to the JSON body as they are, for servers newer than this client."""


class GenerationParams(CallOptions, total=False):
    """Sampling and common fields of chat and text completions."""

    # --- Length and stopping
    max_tokens: int | None
    """Most tokens to generate; 0 or absent: the rest of the context. Server default: no limit."""
    min_tokens: int | None
    """Fewest tokens to generate before an end token may come. 0 or more; default 0."""
    stop: str | Sequence[str | int] | None
    """Strings or token ids that end the answer; they are not part of it. Default none."""
    banned_strings: str | Sequence[str] | None
    """Texts that must not appear: the server goes back and takes another way. Default none."""
    banned_tokens: Sequence[int] | str | None
    """Token ids that are never chosen. Default none."""
    loop_detect_window: int | None
    """Ends an answer that repeats itself within so many tokens; 0 = off. Default 800 (on)."""
    token_healing: bool | None
    """Lets the last prompt token be completed differently. Default False."""
    # --- Sampling
    temperature: float | None
    """0 (greedy) to 10; higher is more random. Default 1.0."""
    temperature_last: bool | None
    """Apply the temperature after the other samplers. Default False."""
    top_k: int | None
    """Sample from the k likeliest tokens; 0 or -1 = off. Default 0."""
    top_p: float | None
    """Nucleus sampling, 0 to 1: the likeliest tokens of this total probability. Default 1.0
    (off).
    """
    min_p: float | None
    """Drop tokens less likely than this share of the likeliest one. Default 0.0 (off)."""
    xtc_probability: float | None
    """Chance, 0 to 1, of excluding the top choices at a token. Default 0.0 (off)."""
    xtc_threshold: float | None
    """Probability, 0 to 1, above which XTC excludes tokens. Default 0.1."""
    frequency_penalty: float | None
    """0 or more, grows with each repetition of a token. Default 0.0."""
    presence_penalty: float | None
    """0 or more, once a token has appeared. Default 0.0."""
    repetition_penalty: float | None
    """Above 0; more than 1 discourages tokens already present. Default 1.0 (off)."""
    penalty_range: int | None
    """How many of the last tokens the penalties look at; -1 = all. Default -1."""
    repetition_decay: int | None
    """Tokens over which the repetition penalty fades out beyond its range. Default 0."""
    logit_bias: Mapping[int | str, float] | None
    """Token id to a number added to its logit. Default none."""
    adaptive_target: float | None
    """Target probability of the adaptive-P sampler; below 1 switches it on. Default 1.0 (off)."""
    adaptive_decay: float | None
    """How slowly the adaptive-P sampler forgets. Default 0.9."""
    logprobs: int | bool | None
    """True: log probability of each token; N > 1: with N alternatives. Default 0 (off)."""
    top_logprobs: int | None
    """Alternatives to report for each token; switches `logprobs` on. Default 0."""
    add_bos_token: bool | None
    """Begin the prompt with the BOS token. Completions only; chat ignores it. Default: the
    model's.
    """
    # --- Constrained output
    json_schema: Any | None
    """JSON schema (a dict, or a Python type) that the answer must satisfy. Default none."""
    regex_pattern: str | None
    """Regular expression that the answer must match. Default none."""
    grammar_string: str | None
    """Grammar of the answer: GBNF if it holds `::=`, otherwise Lark. Default none."""
    response_format: Mapping[str, Any] | type | None
    """`{"type": "text" | "json" | "json_schema", ...}`, or a Python type. `json_object` is sent
    as `json`. Default text.
    """
    # --- Without effect on TabbyAPI's current engine; the local server obeys what llama.cpp has
    allowed_tokens: Sequence[int] | str | None
    """Only these token ids may be chosen."""
    smoothing_factor: float | None
    """Quadratic sampling, 0 or more."""
    top_a: float | None
    """Top-A sampling."""
    tfs: float | None
    """Tail-free sampling."""
    typical: float | None
    """Locally typical sampling, above 0 to 1; 1 = off."""
    skew: float | None
    """Skews the distribution."""
    dry_multiplier: float | None
    """Strength of the DRY repetition penalty; 0 = off."""
    dry_base: float | None
    """Base of the DRY penalty's growth."""
    dry_allowed_length: int | None
    """Longest repetition that DRY lets pass, in tokens."""
    dry_range: int | None
    """How many of the last tokens DRY looks at."""
    dry_sequence_breakers: str | Sequence[str] | None
    """Strings at which DRY starts afresh."""
    mirostat_mode: int | None
    """Mirostat: 0 off, 1, or 2."""
    mirostat_tau: float | None
    """Mirostat's target entropy."""
    mirostat_eta: float | None
    """Mirostat's learning rate."""
    ban_eos_token: bool | None
    """Never end by the end token."""
    min_temp: float | None
    """Lower bound of dynamic temperature, 0 or more, not above `max_temp`."""
    max_temp: float | None
    """Upper bound of dynamic temperature, 0 or more."""
    temp_exponent: float | None
    """Exponent of dynamic temperature, 0 or more."""
    # --- Request
    model: str | None
    """Model to answer. TabbyAPI ignores it unless inline model loading is on. Default: the
    loaded one.
    """
    n: int | None
    """Number of answers, 1 or more. Default 1."""
    best_of: int | None
    """Ignored by the server."""
    echo: bool | None
    """Ignored by the server."""
    suffix: str | None
    """Ignored by the server."""
    user: str | None
    """Ignored by the server."""
    stream_options: Mapping[str, Any] | None
    """`{"include_usage": bool}`. The client asks for usage unless this says otherwise."""


class ChatParams(GenerationParams, total=False):
    """All parameters of a chat request beside its messages."""

    # --- Tools
    tools: Sequence[Any] | None
    """Tools the model may call: Python functions, whose signature and docstring describe them,
    or `{"type": "function", "function": {name, description, parameters}}`, all required.
    """
    tool_choice: str | Mapping[str, Any] | None
    """"none", "auto", "required", or `{"type": "function", "function": {"name": ...}}`.
    TabbyAPI itself obeys only "none"; the local server obeys all.
    """
    parallel_tool_calls: bool | None
    """Ignored by TabbyAPI. Default True."""
    functions: Sequence[Mapping[str, Any]] | None
    """Handed to the prompt template as it is."""
    # --- Prompt template
    template_vars: Mapping[str, Any] | None
    """Extra variables for the prompt template. Default none."""
    add_generation_prompt: bool | None
    """Open the assistant's turn at the end of the prompt. Default True."""
    response_prefix: str | None
    """Text the answer must begin with; it is not part of the answer returned."""
    continue_final_message: bool | None
    """Continue the last message instead of opening a turn; only the continuation is returned."""
    prompt_template: str | None
    """Ignored by the server; use `client.templates.switch`."""
    # --- Reasoning
    reasoning_effort: str | None
    """Passed to the template, e.g. "low", "medium", "high"."""
    verbosity: str | None
    """Passed to the template."""
    enable_thinking: bool | None
    """Passed to the template: False asks a hybrid model not to reason."""
    reasoning: Mapping[str, Any] | None
    """`{"effort": str, "enabled": bool, "max_tokens": int}`: the three settings in one."""
    reasoning_budget_tokens: int | None
    """Reasoning is ended after about this many tokens; 0 = at once. Default: the server's."""
    reasoning_budget_message: str | None
    """Text put in before reasoning is ended by the budget."""
