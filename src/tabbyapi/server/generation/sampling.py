"""From a request's sampling fields to the parameters of llama.cpp's `/completion`.

What llama.cpp has is passed on; what it lacks (`skew`, `tfs`, `top_a`, `smoothing_factor`,
`repetition_decay`, `token_healing`) is ignored, as the real server ignores its own list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import HTTPError
from ..schemas import SamplerRequest

__all__ = ["alternatives", "sampling_parameters", "stop_conditions", "token_ids"]

_MOST_ALTERNATIVES = 100
_LARGEST = 2**31 - 1  # of the engine's integers

# request field -> llama.cpp's name, where the value goes through as it is
_SAME_MEANING = {
    "top_p": "top_p",
    "min_p": "min_p",
    "typical": "typical_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repeat_penalty",
    "penalty_range": "repeat_last_n",
    "dry_multiplier": "dry_multiplier",
    "dry_base": "dry_base",
    "dry_allowed_length": "dry_allowed_length",
    "dry_range": "dry_penalty_last_n",
    "mirostat_mode": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "ban_eos_token": "ignore_eos",
    "temp_exponent": "dynatemp_exponent",
}

# TabbyAPI's defaults are neutral; llama.cpp's are not.
_NEUTRAL: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": -1,
    "xtc_threshold": 0.1,
}


def token_ids(value: list[int] | str | None) -> list[int]:
    """Token ids of a list, or of a comma-separated string whose other parts are dropped."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        # None has more digits, and int() takes a few thousand at most.
        return [int(part) for part in parts if part.isdecimal() and len(part) <= 10]
    return list(value or ())


def stop_conditions(stop: str | list[str | int] | None) -> tuple[list[str], set[int]]:
    """Stop strings and stop token ids."""
    entries = [stop] if isinstance(stop, str) else stop or []
    strings = [entry for entry in entries if isinstance(entry, str) and entry]
    return strings, {entry for entry in entries if isinstance(entry, int)}


def alternatives(request: SamplerRequest) -> int | None:
    """How many alternatives to report with each token; None: no log probabilities at all."""
    if not request.logprobs:
        return None
    asked = request.logprobs if request.logprobs > 1 else request.top_logprobs or 0
    return min(asked, _MOST_ALTERNATIVES)


def _breakers(given: str | list[str]) -> list[str]:
    """Strings that DRY does not look across: a list, one string, or a list as JSON text."""
    if isinstance(given, str):
        with suppress(ValueError, RecursionError):
            found = json.loads(given)
            if isinstance(found, list) and all(isinstance(each, str) for each in found):
                return found
        return [given]
    return given


def sampling_parameters(
    request: SamplerRequest, n_ctx: int, defaults: Mapping[str, float]
) -> dict[str, Any]:
    """Parameters for the engine.

    Args:
        request: what the client sent, overrides applied.
        n_ctx: context, in tokens.
        defaults: the model's own values of what the request leaves out, by the engine's names.

    Raises:
        HTTPError: 400, for fields that contradict each other.
    """
    given = {name: value for name in _SAME_MEANING if (value := getattr(request, name)) is not None}
    parameters = (
        _NEUTRAL | dict(defaults) | {_SAME_MEANING[name]: value for name, value in given.items()}
    )
    if request.temperature is not None:
        parameters["temperature"] = request.temperature
    if request.top_k is not None:
        parameters["top_k"] = max(0, request.top_k)
    if request.dry_sequence_breakers is not None:
        parameters["dry_sequence_breakers"] = _breakers(request.dry_sequence_breakers)
    for name in ("repeat_last_n", "dry_penalty_last_n"):
        if parameters.get(name, 0) < 0:
            parameters[name] = n_ctx  # the engine has no other word for "all"
    _dynamic_temperature(request, parameters)
    bias = [[token, value] for token, value in (request.logit_bias or {}).items()]
    bias += [[token, False] for token in token_ids(request.banned_tokens)]
    bias = [entry for entry in bias if 0 <= entry[0] <= _LARGEST]
    if bias:
        parameters["logit_bias"] = bias
    order = ["penalties", "dry", "temperature", "top_k", "typ_p", "top_p", "min_p", "xtc"]
    if request.temperature_last:
        order.append(order.pop(2))
    if request.adaptive_target is not None and request.adaptive_target < 1:
        parameters["adaptive_target"] = request.adaptive_target
        if request.adaptive_decay is not None:
            parameters["adaptive_decay"] = request.adaptive_decay
        order.append("adaptive_p")
    if _greedy(parameters):
        # The likeliest token is what all others would leave as well, but this is much cheaper.
        order, parameters["top_k"] = ["penalties", "dry", "top_k"], 1
    parameters["samplers"] = order
    if isinstance(request.seed, int) and not isinstance(request.seed, bool):
        parameters["seed"] = request.seed % 2**31
    probabilities = alternatives(request)
    if probabilities is not None:
        parameters["n_probs"] = max(1, probabilities)
    if request.min_tokens and request.max_tokens and request.min_tokens > request.max_tokens:
        raise HTTPError(
            400, f"min_tokens ({request.min_tokens}) is above max_tokens ({request.max_tokens})"
        )
    # No more than the context is ever generated.
    parameters["n_predict"] = min(request.max_tokens, n_ctx) if request.max_tokens else -1
    return {
        name: max(-_LARGEST, min(value, _LARGEST)) if type(value) is int else value
        for name, value in parameters.items()
    }


def _greedy(parameters: dict[str, Any]) -> bool:
    """True for greedy sampling."""
    others = ("adaptive_target", "dynatemp_range", "mirostat")
    return parameters["temperature"] == 0 and not any(parameters.get(name) for name in others)


def _dynamic_temperature(request: SamplerRequest, parameters: dict[str, Any]) -> None:
    low, high = request.min_temp, request.max_temp
    low, high = 1.0 if low is None else low, 1.0 if high is None else high
    if request.min_temp is not None and request.max_temp is not None and low > high:
        raise HTTPError(400, f"min_temp ({low}) is above max_temp ({high})")
    if low < high:
        parameters["temperature"] = (low + high) / 2
        parameters["dynatemp_range"] = (high - low) / 2
