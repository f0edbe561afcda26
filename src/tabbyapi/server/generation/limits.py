"""Bounds on what one request may ask for: more would cost others their answers."""

from __future__ import annotations

from ..errors import HTTPError
from ..schemas import GenerationRequest
from .sampling import alternatives

__all__ = ["MOST_CHOICES", "check_limits"]

_MOST = {
    "stop": 1024,
    "banned_strings": 256,
    "banned_tokens": 262_144,
    "allowed_tokens": 262_144,
    "logit_bias": 65_536,
    "dry_sequence_breakers": 256,
    "tools": 512,
    "functions": 512,
}  # entries
_MOST_CHARACTERS = {
    "stop": 65_536, "banned_strings": 16_384, "banned_tokens": 2_097_152,
    "dry_sequence_breakers": 16_384,
}  # fmt: skip
MOST_CHOICES = 128
_MOST_PROBABILITIES = 256  # per token, over all choices


def check_limits(body: GenerationRequest) -> None:
    """Raise `HTTPError` (400) that names the field, its size and the most there is."""
    choices = body.n or 1
    if choices > MOST_CHOICES:
        raise _too_much("n", choices, MOST_CHOICES, "choices")
    reported = choices * (alternatives(body) or 0)
    if reported > _MOST_PROBABILITIES:
        raise _too_much("n times top_logprobs", reported, _MOST_PROBABILITIES, "probabilities")
    for name, most in _MOST.items():
        value = getattr(body, name, None)
        if isinstance(value, (list, dict)) and len(value) > most:
            raise _too_much(name, len(value), most, "entries")
    for name, most in _MOST_CHARACTERS.items():
        value = getattr(body, name)
        texts = [value] if isinstance(value, str) else value or ()
        size = sum(len(text) for text in texts if isinstance(text, str))
        if size > most:
            raise _too_much(name, size, most, "characters")


def _too_much(name: str, size: int, most: int, unit: str) -> HTTPError:
    return HTTPError(400, f"{name} comes to {size:,} {unit}; this server takes at most {most:,}")
