"""From the annotations of parameters to checks, and from parameters to checked fields.

The rules of a `TypedDict` are made when they are first asked for, and kept: making them is slow,
and a program uses few of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin, is_typeddict

from ...errors import ValidationError
from ...types.params import NOT_SENT
from ...types.rules import Config, Range, Rule, refuse

__all__ = ["body_of", "checked_fields", "rule_of", "rules_of", "with_extra_body"]


@cache
def rules_of(params: Any) -> dict[str, Rule]:
    """The rule of each field that a `TypedDict` of parameters describes, without call options."""
    annotations = params.__annotations__.items()
    return {name: rule_of(kind) for name, kind in annotations if name not in NOT_SENT}


def rule_of(annotation: Any) -> Rule:
    """The rule that an annotation stands for, e.g. `Annotated[int | None, Range(0)]`."""
    bounds = Range()
    origin = get_origin(annotation)
    if origin is Required:
        return rule_of(get_args(annotation)[0])
    if origin is Annotated:
        annotation, given, *_ = get_args(annotation)
        if isinstance(given, Range):
            bounds = given
        else:
            return _or_config(annotation, given)
    return _or_config(annotation, _by_type(_members(annotation), bounds))


def _members(annotation: Any) -> list[Any]:
    """The types of a union, without None."""
    union = get_origin(annotation) in (Union, UnionType)
    return [kind for kind in (get_args(annotation) if union else [annotation]) if kind is not _NONE]


_NONE = type(None)


def _or_config(annotation: Any, rule: Rule) -> Rule:
    """The rule, passing `CONFIG` through as null where the annotation has it."""
    if Config not in _members(annotation):
        return rule
    return lambda field, value: None if isinstance(value, Config) else rule(field, value)


def _by_type(members: list[Any], bounds: Range) -> Rule:
    kinds = [kind for kind in members if kind is not Config]
    origins = [get_origin(kind) or kind for kind in kinds]
    if Any in kinds or type in kinds:
        return lambda _field, value: value
    if nested := next((kind for kind in kinds if is_typeddict(kind)), None):
        return _fields(nested)
    if Sequence in origins:
        items = kinds[origins.index(Sequence)]
        return _list_of(_members(get_args(items)[0]), alone=str in kinds)
    if Literal in origins:
        words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        others = [kind for kind in kinds if get_origin(kind) is not Literal]
        return _one_of(words, _by_type(others, bounds) if others else None)
    if int in kinds:
        return _integer(bounds, boolean=bool in kinds)
    if float in kinds:
        return _number(bounds)
    if bool in kinds:
        return _boolean
    if Mapping in origins:
        return _string_or_mapping if str in kinds else _mapping
    if str in kinds:
        return _string
    raise TypeError(f"no rule for {kinds}")


# ---------------------------------------------------------------- rules of types


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


def _string_or_mapping(field: str, value: Any) -> Any:
    return value if isinstance(value, str) else _mapping(field, value)


def _integer(bounds: Range, *, boolean: bool) -> Rule:
    low = bounds.low
    allowed = "a whole number" if low is None else f"a whole number of {low} or more"

    def rule(field: str, value: Any) -> Any:
        if isinstance(value, bool):
            if boolean:
                return value
            raise refuse(field, value, allowed)
        if not hasattr(value, "__index__"):
            raise refuse(field, value, allowed)
        number = value.__index__()
        if not bounds.holds(number):
            raise refuse(field, value, allowed)
        if not -(2**63) <= number < 2**63:
            raise refuse(field, value, "a whole number of 64 bits")
        return number

    return rule


def _number(bounds: Range) -> Rule:
    low, high, above = bounds.low, bounds.high, bounds.above
    if low is None:
        allowed = "a number"
    elif high is None:
        allowed = f"a number {'above' if above else 'of at least'} {low:g}"
    else:
        allowed = f"a number {'above' if above else 'from'} {low:g} to {high:g}"

    def rule(field: str, value: Any) -> Any:
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise refuse(field, value, allowed)
        number = value if isinstance(value, int | float) else float(value)
        if not math.isfinite(number):
            raise refuse(field, value, allowed + ", and finite")
        if not bounds.holds(number):
            raise refuse(field, value, allowed)
        return number

    return rule


def _one_of(words: list[str], other: Rule | None) -> Rule:
    allowed = " or ".join(f'"{word}"' for word in words if word)

    def rule(field: str, value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        if other is None or isinstance(value, str):
            raise refuse(field, value, allowed if other is None else f"a number, or {allowed}")
        return other(field, value)

    return rule


_ITEMS = {str: "strings", int: "token ids", float: "numbers"}


def _list_of(kinds: list[Any], *, alone: bool) -> Rule:
    """A sequence of values of these types, or (`alone`) a single string."""
    if kinds == [Any]:
        return lambda _field, value: value
    types = tuple(get_origin(kind) or kind for kind in kinds)
    types += (int,) if float in types else ()
    items = " and ".join(_ITEMS.get(kind, "dicts") for kind in kinds)
    allowed = f"{'a string, or ' if alone else ''}a list of {items}"

    def rule(field: str, value: Any) -> Any:
        if alone and isinstance(value, str):
            if not value:
                raise refuse(field, value, f"{allowed}, and not empty")
            return value
        if isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
            raise refuse(field, value, allowed)
        found = list(value)
        for i, item in enumerate(found):
            if isinstance(item, bool) or not isinstance(item, types):
                raise refuse(f"{field}[{i}]", item, f"one of: {allowed}")
            if item == "":
                raise refuse(f"{field}[{i}]", item, "a string with something in it")
        return found

    return rule


def _fields(described: Any) -> Rule:
    """A dict with the fields that a `TypedDict` describes."""
    rules = rules_of(described)

    def rule(field: str, value: Any) -> Any:
        found = {}
        for name, item in _mapping(field, value).items():
            if name not in rules:
                *most, last = rules
                names = f"{', '.join(most)} and {last}" if most else last
                raise ValidationError(
                    f"{field} has no {name!r}; it takes {names}", field=f"{field}.{name}"
                )
            if item is not None:
                found[name] = rules[name](f"{field}.{name}", item)
        for name in described.__required_keys__ - found.keys():
            raise ValidationError(f"{field} needs a {name}", field=field)
        return found

    return rule


# ---------------------------------------------------------------- fields of a request

# Names that people know from elsewhere, and what to write here.
_ELSEWHERE = {
    "max_completion_tokens": "use max_tokens",
    "max_new_tokens": "use max_tokens",
    "max_output_tokens": "use max_tokens",
    "num_predict": "use max_tokens",
    "n_predict": "use max_tokens",
    "num_ctx": "the context window is set when a model is loaded: client.models.load(name, "
    "max_seq_len=...)",
    "format": "use json_schema (a schema or a Python type), or response_format",
    "options": "give each as a parameter of its own: temperature=..., top_k=..., max_tokens=...",
    "prompt": "use messages=[user(...)], or client.completions.create(prompt)",
    "system": "begin the messages with system(...), or use client.conversation(system=...)",
    "think": "use enable_thinking",
    "keep_alive": "the server keeps a model until client.models.unload()",
    "stop_sequences": "use stop",
    "repeat_penalty": "use repetition_penalty",
    "repeat_last_n": "use penalty_range",
    "chat_template_kwargs": "use template_vars",
    "mirostat": "use mirostat_mode",
    "typical_p": "use typical",
    "tfs_z": "use tfs",
    "rep_pen": "use repetition_penalty",
    "ignore_eos": "use ban_eos_token",
    "thinking_budget": "use reasoning_budget_tokens",
    "reasoning_budget": "use reasoning_budget_tokens",
    "guided_json": "use json_schema",
    "guided_regex": "use regex_pattern",
    "grammar": "use grammar_string",
    "stream": "use create_stream to stream, create for one answer",
    "seed": "TabbyAPI has no seed and would ignore it silently; temperature=0 takes the "
    "likeliest token each time (answers that run in parallel may still differ), and "
    'the local server takes extra_body={"seed": ...}',
    "cfg_scale": "TabbyAPI no longer has it",
    "negative_prompt": "TabbyAPI no longer has it",
    "extra_query": "TabbyAPI's routes take none",
    "logit_processors": "TabbyAPI has none; logit_bias and the samplers are what it takes",
}


def checked_fields(params: Mapping[str, Any], allowed: Mapping[str, Rule]) -> dict[str, Any]:
    """The fields to send: those that are not None, each by its rule.

    Args:
        params: parameters by name; `timeout` and `extra_body` are left out.
        allowed: rules by name, see `rules_of`.

    Raises:
        ValidationError: an unknown name, or a value outside what the server accepts.
    """
    fields: dict[str, Any] = {}
    for name, value in params.items():
        if value is None or name in NOT_SENT:
            continue
        rule = allowed.get(name)
        if rule is None:
            raise _unknown(name, allowed)
        fields[name] = rule(name, value)
    return fields


def body_of(fixed: Mapping[str, Any], params: Mapping[str, Any], described: Any) -> dict[str, Any]:
    """The JSON fields of a request: `fixed`, the checked parameters, and `extra_body` on top.

    Args:
        described: the `TypedDict` that describes the parameters.
    """
    return with_extra_body({**fixed, **checked_fields(params, rules_of(described))}, params)


def with_extra_body(body: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the fields of `extra_body` in place."""
    extra = params.get("extra_body")
    return body if extra is None else {**body, **_mapping("extra_body", extra)}


def _unknown(name: str, allowed: Mapping[str, Rule]) -> ValidationError:
    advice = _ELSEWHERE.get(name)
    if advice is None:
        from difflib import get_close_matches  # for those who mistype only

        near = get_close_matches(name, allowed, n=1)
        advice = (
            f"did you mean {near[0]}?" if near else 'newer fields go into extra_body={"...": ...}'
        )
    return ValidationError(f"there is no parameter {name!r}: {advice}", field=name)
