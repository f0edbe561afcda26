"""Checks of request fields before anything is sent: the ranges the real server enforces.

Each field has one rule in one table. A rule returns the value to send (usually the same) or
raises `ValidationError` naming the field, the value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import ValidationError

__all__ = ["RULES", "checked_fields", "refuse"]

Rule = Callable[[str, Any], Any]


def refuse(field: str, value: Any, allowed: str) -> ValidationError:
    """The error for a value that is not allowed."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:80] + "..."
    return ValidationError(f"{field} must be {allowed}, not {shown}", field=field)


def _boolean(field: str, value: Any) -> Any:
    if not isinstance(value, bool):
        raise refuse(field, value, "True or False")
    return value


def _string(field: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise refuse(field, value, "a string")
    return str(value)


def _mapping(field: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise refuse(field, value, "a dict")
    return dict(value)


def _anything(_field: str, value: Any) -> Any:
    return value


def _integer(low: int | None = None) -> Rule:
    allowed = "a whole number" if low is None else f"a whole number of {low} or more"

    def rule(field: str, value: Any) -> Any:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise refuse(field, value, allowed)
        number = value.__index__()
        if low is not None and number < low:
            raise refuse(field, value, allowed)
        if not -(2**63) <= number < 2**63:
            raise refuse(field, value, "a whole number of 64 bits")
        return number

    return rule


def _number(low: float | None = None, high: float | None = None, *, above: bool = False) -> Rule:
    if low is None:
        allowed = "a number"
    elif high is None:
        allowed = f"a number {'above' if above else 'of at least'} {low:g}"
    else:
        allowed = f"a number {'above' if above else 'from'} {low:g} to {high:g}"

    def rule(field: str, value: Any) -> Any:
        if isinstance(value, bool) or not (hasattr(value, "__float__")):
            raise refuse(field, value, allowed)
        number = value if isinstance(value, int | float) else float(value)
        if not math.isfinite(number):
            raise refuse(field, value, allowed + ", and finite")
        if low is not None and (number < low or (above and number == low)):
            raise refuse(field, value, allowed)
        if high is not None and number > high:
            raise refuse(field, value, allowed)
        return number

    return rule


def _list_of(kinds: tuple[type, ...], allowed: str, *, alone: type | None = str) -> Rule:
    """A sequence of values of these types, or (`alone`) a single one."""

    def rule(field: str, value: Any) -> Any:
        if alone is not None and isinstance(value, alone):
            if not value:
                raise refuse(field, value, f"{allowed}, and not empty")
            return value
        if isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
            raise refuse(field, value, allowed)
        items = list(value)
        for i, item in enumerate(items):
            if isinstance(item, bool) or not isinstance(item, kinds):
                raise refuse(f"{field}[{i}]", item, f"one of: {allowed}")
            if item == "":
                raise refuse(f"{field}[{i}]", item, "a string with something in it")
        return items

    return rule


_strings = _list_of((str,), "a string or a list of strings")
_token_ids = _list_of((int,), "a list of token ids, or a string of them with commas")


def _logprobs(field: str, value: Any) -> Any:
    return value if isinstance(value, bool) else _integer(0)(field, value)


def _logit_bias(field: str, value: Any) -> Any:
    bias = {}
    for token, number in _mapping(field, value).items():
        if isinstance(token, bool) or not str(token).isdecimal():
            raise refuse(field, token, "a dict with token ids as keys")
        bias[str(token)] = _number()(f"{field}[{token}]", number)
    return bias


def _reasoning(field: str, value: Any) -> Any:
    rules = {"effort": _string, "enabled": _boolean, "max_tokens": _integer()}
    fields = _mapping(field, value)
    for name, item in fields.items():
        if name not in rules:
            raise ValidationError(
                f"{field} has no {name!r}; it takes effort, enabled and max_tokens", field=field
            )
        rules[name](f"{field}.{name}", item)
    return fields


def _stream_options(field: str, value: Any) -> Any:
    fields = _mapping(field, value)
    if "include_usage" in fields:
        _boolean(f"{field}.include_usage", fields["include_usage"])
    return fields


RULES: dict[str, Rule] = {
    "max_tokens": _integer(0),
    "min_tokens": _integer(0),
    "stop": _list_of((str, int), "a string, or a list of strings and token ids"),
    "banned_strings": _strings,
    "banned_tokens": _token_ids,
    "loop_detect_window": _integer(0),
    "token_healing": _boolean,
    "temperature": _number(0, 10),
    "temperature_last": _boolean,
    "top_k": _integer(-1),
    "top_p": _number(0, 1),
    "min_p": _number(),
    "xtc_probability": _number(0, 1),
    "xtc_threshold": _number(0, 1),
    "frequency_penalty": _number(0),
    "presence_penalty": _number(0),
    "repetition_penalty": _number(0, above=True),
    "penalty_range": _integer(-1),
    "repetition_decay": _integer(),
    "logit_bias": _logit_bias,
    "adaptive_target": _number(),
    "adaptive_decay": _number(),
    "logprobs": _logprobs,
    "top_logprobs": _integer(0),
    "add_bos_token": _boolean,
    "json_schema": _anything,
    "regex_pattern": _string,
    "grammar_string": _string,
    "response_format": _mapping,
    "allowed_tokens": _token_ids,
    "smoothing_factor": _number(0),
    "top_a": _number(),
    "tfs": _number(),
    "typical": _number(0, 1, above=True),
    "skew": _number(),
    "dry_multiplier": _number(),
    "dry_base": _number(),
    "dry_allowed_length": _integer(),
    "dry_range": _integer(),
    "dry_sequence_breakers": _strings,
    "mirostat_mode": _integer(),
    "mirostat_tau": _number(),
    "mirostat_eta": _number(),
    "ban_eos_token": _boolean,
    "min_temp": _number(0),
    "max_temp": _number(0),
    "temp_exponent": _number(0),
    "model": _string,
    "n": _integer(1),
    "best_of": _integer(),
    "echo": _boolean,
    "suffix": _string,
    "user": _string,
    "stream_options": _stream_options,
    "tools": _anything,
    "tool_choice": _anything,
    "parallel_tool_calls": _boolean,
    "functions": _list_of((Mapping,), "a list of dicts", alone=None),
    "template_vars": _mapping,
    "add_generation_prompt": _boolean,
    "response_prefix": _string,
    "continue_final_message": _boolean,
    "prompt_template": _string,
    "reasoning_effort": _string,
    "verbosity": _string,
    "enable_thinking": _boolean,
    "reasoning": _reasoning,
    "reasoning_budget_tokens": _integer(),
    "reasoning_budget_message": _string,
}

# What people know from elsewhere, and what to write here.
_ELSEWHERE = {
    "max_completion_tokens": "use max_tokens",
    "chat_template_kwargs": "use template_vars",
    "mirostat": "use mirostat_mode",
    "typical_p": "use typical",
    "rep_pen": "use repetition_penalty",
    "ignore_eos": "use ban_eos_token",
    "thinking_budget": "use reasoning_budget_tokens",
    "reasoning_budget": "use reasoning_budget_tokens",
    "guided_json": "use json_schema",
    "guided_regex": "use regex_pattern",
    "grammar": "use grammar_string",
    "stream": "use create_stream to stream, create for one answer",
    "seed": "TabbyAPI has no seed and would ignore it silently; temperature=0 makes answers "
    'repeatable, and the local server takes extra_body={"seed": ...}',
    "cfg_scale": "TabbyAPI no longer has it",
    "negative_prompt": "TabbyAPI no longer has it",
    "extra_headers": "use Client(headers=...)",
}


def checked_fields(params: Mapping[str, Any], allowed: Mapping[str, Rule]) -> dict[str, Any]:
    """The fields to send: those that are not None, each by its rule.

    Raises:
        ValidationError: an unknown name, or a value outside what the server accepts.
    """
    fields: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        rule = allowed.get(name)
        if rule is None:
            raise _unknown(name, allowed)
        fields[name] = rule(name, value)
    _check_together(fields)
    return fields


def _check_together(fields: dict[str, Any]) -> None:
    least, most = fields.get("min_tokens"), fields.get("max_tokens")
    if least is not None and most and least > most:
        raise ValidationError(
            f"min_tokens ({least}) must not be above max_tokens ({most})", field="min_tokens"
        )
    # The server's defaults are 1.0 for both.
    low, high = fields.get("min_temp", 1.0), fields.get("max_temp", 1.0)
    if ("min_temp" in fields or "max_temp" in fields) and low > high:
        raise ValidationError(
            f"min_temp ({low:g}) must not be above max_temp ({high:g}); both default to 1",
            field="min_temp",
        )
    if fields.get("top_logprobs") and "logprobs" not in fields:
        fields["logprobs"] = True  # alone it would have no effect


def _unknown(name: str, allowed: Mapping[str, Rule]) -> ValidationError:
    advice = _ELSEWHERE.get(name)
    if advice is None:
        near = get_close_matches(name, allowed, n=1)
        advice = (
            f"did you mean {near[0]}?" if near else 'newer fields go into extra_body={"...": ...}'
        )
    return ValidationError(f"there is no parameter {name!r}: {advice}", field=name)
