"""The parameters of all requests, each described once: its type, its rule, its documentation.

`TypedDict`s for `**params: Unpack[...]`: every method that takes these parameters (sync, async,
streams, conversations) completes and checks them without repeating them. The rule of a value
stands in its annotation, see `rules`. What is not given, or is None, is not sent: an explicit
null breaks the real server. Zero and False are sent.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Required, TypedDict

from . import rules
from .options import Timeout
from .rules import Config, Range

__all__ = [
    "NOT_SENT",
    "CallOptions",
    "ChatParams",
    "DecodeParams",
    "DownloadParams",
    "DraftModel",
    "EmbeddingParams",
    "EncodeParams",
    "GenerationParams",
    "LoadEmbeddingParams",
    "LoadParams",
    "LoraParams",
    "ReasoningOptions",
    "RequestParams",
    "SamplingParams",
    "StreamOptions",
]


class CallOptions(TypedDict, total=False):
    """Options of a call that are not sent as fields."""

    timeout: Timeout | float | None
    """Limits for this call: seconds in all, or a `Timeout`. Default: the client's."""
    extra_headers: Mapping[str, str] | None
    """Headers of this call, in addition to the client's."""
    extra_body: Mapping[str, Any] | None
    """Fields to add to the JSON body as they are, for servers newer than this client."""


class SamplingParams(TypedDict, total=False):
    """Sampling fields of chat and text completions: those that the server can override, too."""

    # --- Length and stopping
    max_tokens: Annotated[int | None, Range(0)]
    """Most tokens to generate; 0 or absent: the rest of the context. Server default: no limit."""
    min_tokens: Annotated[int | None, Range(0)]
    """Fewest tokens to generate before an end token may come. 0 or more; default 0."""
    stop: str | Sequence[str | int] | None
    """Strings or token ids that end the answer; they are not part of it. Default none."""
    banned_strings: str | Sequence[str] | None
    """Texts that must not appear: the server goes back and takes another way. Default none."""
    banned_tokens: Sequence[int] | str | None
    """Token ids that are never chosen. Default none."""
    loop_detect_window: Annotated[int | None, Range(0)]
    """Ends an answer that repeats itself within so many tokens; 0 = off. Default 800 (on)."""
    token_healing: bool | None
    """Lets the last prompt token be completed differently. Default False."""
    # --- Sampling
    temperature: Annotated[float | None, Range(0, 10)]
    """0 (greedy) to 10; higher is more random. Default 1.0."""
    temperature_last: bool | None
    """Apply the temperature after the other samplers. Default False."""
    top_k: Annotated[int | None, Range(-1)]
    """Sample from the k likeliest tokens; 0 or -1 = off. Default 0."""
    top_p: Annotated[float | None, Range(0, 1)]
    """Nucleus sampling, 0 to 1: the likeliest tokens of this total probability. Default 1.0
    (off).
    """
    min_p: float | None
    """Drop tokens less likely than this share of the likeliest one. Default 0.0 (off)."""
    xtc_probability: Annotated[float | None, Range(0, 1)]
    """Chance, 0 to 1, of excluding the top choices at a token. Default 0.0 (off)."""
    xtc_threshold: Annotated[float | None, Range(0, 1)]
    """Probability, 0 to 1, above which XTC excludes tokens. Default 0.1."""
    frequency_penalty: Annotated[float | None, Range(0)]
    """0 or more, grows with each repetition of a token. Default 0.0."""
    presence_penalty: Annotated[float | None, Range(0)]
    """0 or more, once a token has appeared. Default 0.0."""
    repetition_penalty: Annotated[float | None, Range(0, above=True)]
    """Above 0; more than 1 discourages tokens already present. Default 1.0 (off)."""
    penalty_range: Annotated[int | None, Range(-1)]
    """Number of last tokens that the penalties look at; -1 = all. Default -1."""
    repetition_decay: int | None
    """Tokens over which the repetition penalty fades out beyond its range. Default 0."""
    logit_bias: Annotated[Mapping[int | str, float] | None, rules.logit_bias]
    """Token id to a number added to its logit. Default none."""
    adaptive_target: float | None
    """Target probability of the adaptive-P sampler; below 1 switches it on. Default 1.0 (off)."""
    adaptive_decay: float | None
    """Decay of the adaptive-P sampler: the higher, the longer it remembers. Default 0.9."""
    logprobs: Annotated[int | bool | None, Range(0)]
    """True: log probability of each token; N > 1: with N alternatives. Default 0 (off)."""
    top_logprobs: Annotated[int | None, Range(0)]
    """Alternatives to report for each token; switches `logprobs` on. Default 0."""
    add_bos_token: bool | None
    """Begin the prompt with the BOS token. Completions only; chat ignores it. Default: the
    model's.
    """
    # --- Constrained output; TabbyAPI applies all that are given, the local server takes one
    json_schema: Any | None
    """JSON schema (a dict, or a Python type) that the answer must satisfy. Default none."""
    regex_pattern: Annotated[str | None, rules.not_empty]
    """Regular expression that the answer must match. Default none."""
    grammar_string: Annotated[str | None, rules.not_empty]
    """Grammar of the answer: GBNF if it holds `::=`, otherwise Lark. Default none."""
    # --- Without effect on TabbyAPI's current engine; the local server obeys what llama.cpp has
    allowed_tokens: Sequence[int] | str | None
    """Only these token ids may be chosen."""
    smoothing_factor: Annotated[float | None, Range(0)]
    """Quadratic sampling, 0 or more."""
    top_a: float | None
    """Top-A sampling."""
    tfs: float | None
    """Tail-free sampling."""
    typical: Annotated[float | None, Range(0, 1, above=True)]
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
    """Number of last tokens that DRY looks at."""
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
    min_temp: Annotated[float | None, Range(0)]
    """Lower bound of dynamic temperature, 0 or more, not above `max_temp`."""
    max_temp: Annotated[float | None, Range(0)]
    """Upper bound of dynamic temperature, 0 or more."""
    temp_exponent: Annotated[float | None, Range(0)]
    """Exponent of dynamic temperature, 0 or more."""
    # --- How many
    n: Annotated[int | None, Range(1)]
    """Number of answers, 1 or more. Default 1."""


class StreamOptions(TypedDict, total=False):
    """`stream_options` of a request. They hold for answers that are not streamed too."""

    include_usage: bool
    """Send token counts and timings. Default True."""


class RequestParams(TypedDict, total=False):
    """Fields of chat and text completions that are no samplers."""

    model: str | None
    """Model to answer. TabbyAPI ignores it unless inline model loading is on. Default: the
    loaded one.
    """
    response_format: Mapping[str, Any] | type | None
    """`{"type": "text" | "json" | "json_schema", ...}`, or a Python type. `json_object` is sent
    as `json`. Default text.
    """
    best_of: int | None
    """Ignored by the server."""
    echo: bool | None
    """Ignored by the server."""
    suffix: str | None
    """Ignored by the server."""
    user: str | None
    """Ignored by the server."""
    stream_options: StreamOptions | Mapping[str, Any] | None
    """The client asks for usage unless this says otherwise."""


class GenerationParams(SamplingParams, RequestParams, CallOptions, total=False):
    """All parameters of a text completion beside its prompt, most of a chat's too."""


class ReasoningOptions(TypedDict, total=False):
    """`reasoning` of a chat request."""

    effort: str | None
    """As `reasoning_effort`."""
    enabled: bool | None
    """As `enable_thinking`."""
    max_tokens: int | None
    """As `reasoning_budget_tokens`."""


class ChatParams(GenerationParams, total=False):
    """All parameters of a chat request beside its messages."""

    check_vision: bool | None
    """Refuse images that the loaded model cannot see, which TabbyAPI drops in silence; the model's
    card is asked for, at most once a minute. Not sent. Default True.
    """
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
    reasoning: ReasoningOptions | Mapping[str, Any] | None
    """Effort, switch and budget of reasoning in one. The fields beside this one win."""
    reasoning_budget_tokens: int | None
    """Reasoning is ended after about this many tokens; 0 = at once. Default: the server's."""
    reasoning_budget_message: str | None
    """Text put in before reasoning is ended by the budget."""


class DraftModel(TypedDict, total=False):
    """`draft_model` of a load."""

    draft_model_name: Required[Annotated[str, rules.name]]
    """Name of its folder or file."""
    draft_rope_scale: float | Config | None
    """Accepted and unused."""
    draft_rope_alpha: float | Literal["auto"] | Config | None
    """Accepted and unused."""
    draft_gpu_split: Sequence[float] | Config | None
    """Memory to use on each GPU, in GB. Default none."""


class LoadParams(CallOptions, total=False):
    """Parameters of loading a model.

    What is left out takes the default named here, not what the server's config.yml says, unless
    its `use_as_default` list names the field. `tabbyapi.CONFIG` lets config.yml through. A
    settings file in the model's folder overrides all of them.
    """

    max_seq_len: Annotated[int | Config | None, Range(-1)]
    """Context window, in tokens; -1 or left out: as the model says."""
    cache_size: Annotated[int | Config | None, rules.cache_size]
    """Tokens the cache holds, a multiple of 256. Default: `max_seq_len`."""
    cache_mode: Annotated[str | Config | None, rules.cache_mode]
    """Precision of the cache: "FP16", "Q8", "Q6", "Q4", or bits of keys and values such as "8,4".
    Default "FP16".
    """
    chunk_size: Annotated[int | Config | None, Range(1)]
    """Tokens of a prompt processed in one go. Default 2048."""
    output_chunking: bool | Config | None
    """Splits the output layer to save memory. Default True."""
    prompt_template: str | Config | None
    """Name of a chat template to use in place of the model's own."""
    vision: bool | Config | None
    """Load the part that understands images. Default False."""
    draft_model: DraftModel | Mapping[str, Any] | Config | None
    """A small model that drafts. Default none."""
    backend: str | Config | None
    """"exllamav3" is the only one TabbyAPI still has."""
    tensor_parallel: bool | Config | None
    """Spread each layer over all GPUs. Default False."""
    tensor_parallel_backend: str | Config | None
    """"native" or "nccl". Default "native"."""
    gpu_split_auto: bool | Config | None
    """Let the server divide the model among GPUs. Default True."""
    autosplit_reserve: Sequence[float] | Config | None
    """Memory to leave free on each GPU, in MB. Default: the server's."""
    gpu_split: Sequence[float] | Config | None
    """Memory to use on each GPU, in GB. Default none."""
    rope_scale: float | Config | None
    """Accepted and unused."""
    rope_alpha: float | Literal["auto"] | Config | None
    """Accepted and unused."""
    skip_queue: bool | Config | None
    """Meant to not wait for running requests; the server waits all the same."""


class LoadEmbeddingParams(CallOptions, total=False):
    """Parameters of loading an embedding model."""

    embeddings_device: str | None
    """Device it runs on: "cpu", "auto" or "cuda". Default: the server's."""


class DownloadParams(CallOptions, total=False):
    """Parameters of a download."""

    repo_type: Literal["model", "lora", ""] | None
    """Decides the folder it goes to; "" lets the server find out. Default "model"."""
    folder_name: Annotated[str | None, rules.name]
    """Folder to create. Default: the repository's name."""
    revision: Annotated[str | None, rules.name]
    """Branch, tag or commit. Default: the main branch."""
    token: Annotated[str | None, rules.secret]
    """The hub's access token, for repositories that need one."""
    include: Sequence[str] | None
    """Patterns of files to fetch. Default all."""
    exclude: Sequence[str] | None
    """Patterns of files to leave out. Default none."""
    chunk_limit: Annotated[int | None, Range(1)]
    """Size of the pieces fetched, in units of 100,000 bytes. Default: the server's."""
    download_timeout: Annotated[int | None, Range(1)]
    """Seconds that the *server* allows for each file. Sent as `timeout`. Default: no limit."""


class EncodeParams(CallOptions, total=False):
    """Parameters of encoding a text or messages."""

    add_bos_token: bool | None
    """Begin with the BOS token. Default True."""
    encode_special_tokens: bool | None
    """Read markup such as `<|im_start|>` as the one token it stands for. Default True."""
    template_vars: Mapping[str, Any] | None
    """Variables for the chat template, for messages only. Tools can be counted only so:
    `template_vars={"tools": [...]}`.
    """


class DecodeParams(CallOptions, total=False):
    """Parameters of decoding tokens."""

    decode_special_tokens: bool | None
    """Write special tokens out as their markup. Default True; False leaves them out."""


class LoraParams(CallOptions, total=False):
    """Parameters of loading adapters."""

    skip_queue: bool | None
    """Meant to not wait for running requests. Default False."""


class EmbeddingParams(CallOptions, total=False):
    """Parameters of an embedding request."""

    encoding_format: Literal["float", "base64"] | None
    """Encoding of the numbers in the answer: decimal text, or base64, which is a third of
    the size. The result is the same: lists of floats. Default "float".
    """
    model: str | None
    """Ignored by TabbyAPI: the loaded embedding model answers."""


NOT_SENT = frozenset({*CallOptions.__annotations__, "check_vision"})
"""Parameters that are no fields of a request."""
