"""Token counts and timings of one request."""

import msgspec

__all__ = ["UsageStats"]


class UsageStats(msgspec.Struct, gc=False):
    """What a request cost.

    Tokens are counts, times are seconds, rates are tokens per second. A rate is the string
    "Indeterminate" where the server measured no time; `prompt_tokens_per_sec` counts only
    tokens that were not in the prompt cache. With `n > 1` the prompt is counted once and
    completions are summed.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_time: float | None = None
    prompt_tokens_per_sec: float | str | None = None
    completion_time: float | None = None
    completion_tokens_per_sec: float | str | None = None
    total_time: float | None = None
