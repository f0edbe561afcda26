"""Token counts and timings of one request."""

from .base import Value

__all__ = ["CompletionTokensDetails", "PromptTokensDetails", "Timings", "UsageStats"]


class PromptTokensDetails(Value, gc=False):
    """Of the prompt's tokens: those that were read from the prompt cache."""

    cached_tokens: int | None = None


class CompletionTokensDetails(Value, gc=False):
    """Of the answer's tokens: those that a draft model proposed, and whether they were taken."""

    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class UsageStats(Value, gc=False):
    """Token counts and timings of a request.

    Tokens are counts, times are seconds, rates are tokens per second. A rate is the string
    "Indeterminate" where the server measured no time; `prompt_tokens_per_sec` counts only
    tokens that were not in the prompt cache. With `n > 1` the prompt is counted once and
    completions are summed. False in an `if` where the server sent no usage.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_time: float | None = None
    prompt_tokens_per_sec: float | str | None = None
    completion_time: float | None = None
    completion_tokens_per_sec: float | str | None = None
    total_time: float | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    def __bool__(self) -> bool:
        return bool(self.prompt_tokens or self.completion_tokens or self.total_tokens)

    @property
    def cached_tokens(self) -> int | None:
        """Tokens of the prompt read from the prompt cache; None if the server does not tell."""
        details = self.prompt_tokens_details
        return details.cached_tokens if details else None


class Timings(Value, gc=False):
    """What llama.cpp measured: counts, milliseconds, and tokens per second."""

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    prompt_per_token_ms: float | None = None
    prompt_per_second: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None
    predicted_per_token_ms: float | None = None
    predicted_per_second: float | None = None
    draft_n: int | None = None
    draft_n_accepted: int | None = None
