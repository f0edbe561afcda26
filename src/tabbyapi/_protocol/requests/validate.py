"""Checks of request fields before anything is sent: the ranges the real server enforces.

Each field of generation has one rule in one table; `rules` has what they are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ValidationError
from .rules import (
    Rule,
    anything,
    boolean,
    integer,
    list_of,
    mapping,
    number,
    refuse,
    string,
    strings,
    token_ids,
)

__all__ = ["RULES", "checked_fields", "refuse"]


def _logprobs(field: str, value: Any) -> Any:
    return value if isinstance(value, bool) else integer(0)(field, value)


def _logit_bias(field: str, value: Any) -> Any:
    bias = {}
    for token, added in mapping(field, value).items():
        if isinstance(token, bool) or not str(token).isdecimal():
            raise refuse(field, token, "a dict with token ids as keys")
        bias[str(token)] = number()(f"{field}[{token}]", added)
    return bias


def _reasoning(field: str, value: Any) -> Any:
    rules = {"effort": string, "enabled": boolean, "max_tokens": integer()}
    fields = mapping(field, value)
    for name, item in fields.items():
        if name not in rules:
            raise ValidationError(
                f"{field} has no {name!r}; it takes effort, enabled and max_tokens", field=field
            )
        rules[name](f"{field}.{name}", item)
    return fields


def _stream_options(field: str, value: Any) -> Any:
    fields = mapping(field, value)
    if "include_usage" in fields:
        boolean(f"{field}.include_usage", fields["include_usage"])
    return fields


RULES: dict[str, Rule] = {
    "max_tokens": integer(0),
    "min_tokens": integer(0),
    "stop": list_of((str, int), "a string, or a list of strings and token ids"),
    "banned_strings": strings,
    "banned_tokens": token_ids,
    "loop_detect_window": integer(0),
    "token_healing": boolean,
    "temperature": number(0, 10),
    "temperature_last": boolean,
    "top_k": integer(-1),
    "top_p": number(0, 1),
    "min_p": number(),
    "xtc_probability": number(0, 1),
    "xtc_threshold": number(0, 1),
    "frequency_penalty": number(0),
    "presence_penalty": number(0),
    "repetition_penalty": number(0, above=True),
    "penalty_range": integer(-1),
    "repetition_decay": integer(),
    "logit_bias": _logit_bias,
    "adaptive_target": number(),
    "adaptive_decay": number(),
    "logprobs": _logprobs,
    "top_logprobs": integer(0),
    "add_bos_token": boolean,
    "json_schema": anything,
    "regex_pattern": string,
    "grammar_string": string,
    "response_format": anything,
    "allowed_tokens": token_ids,
    "smoothing_factor": number(0),
    "top_a": number(),
    "tfs": number(),
    "typical": number(0, 1, above=True),
    "skew": number(),
    "dry_multiplier": number(),
    "dry_base": number(),
    "dry_allowed_length": integer(),
    "dry_range": integer(),
    "dry_sequence_breakers": strings,
    "mirostat_mode": integer(),
    "mirostat_tau": number(),
    "mirostat_eta": number(),
    "ban_eos_token": boolean,
    "min_temp": number(0),
    "max_temp": number(0),
    "temp_exponent": number(0),
    "model": string,
    "n": integer(1),
    "best_of": integer(),
    "echo": boolean,
    "suffix": string,
    "user": string,
    "stream_options": _stream_options,
    "tools": anything,
    "tool_choice": anything,
    "parallel_tool_calls": boolean,
    "functions": list_of((Mapping,), "a list of dicts", alone=None),
    "template_vars": mapping,
    "add_generation_prompt": boolean,
    "response_prefix": string,
    "continue_final_message": boolean,
    "prompt_template": string,
    "reasoning_effort": string,
    "verbosity": string,
    "enable_thinking": boolean,
    "reasoning": _reasoning,
    "reasoning_budget_tokens": integer(),
    "reasoning_budget_message": string,
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
        from difflib import get_close_matches  # for those who mistype only

        near = get_close_matches(name, allowed, n=1)
        advice = (
            f"did you mean {near[0]}?" if near else 'newer fields go into extra_body={"...": ...}'
        )
    return ValidationError(f"there is no parameter {name!r}: {advice}", field=name)
