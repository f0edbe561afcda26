"""Rules for single values, from which the tables of request fields are made.

A rule returns the value to send (usually the same), or raises `ValidationError` naming the
field, the value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import ValidationError

__all__ = [
    "Rule",
    "anything",
    "boolean",
    "integer",
    "list_of",
    "mapping",
    "number",
    "refuse",
    "string",
    "strings",
    "token_ids",
]

Rule = Callable[[str, Any], Any]


def refuse(field: str, value: Any, allowed: str) -> ValidationError:
    """The error for a value that is not allowed."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:80] + "..."
    return ValidationError(f"{field} must be {allowed}, not {shown}", field=field)


def boolean(field: str, value: Any) -> Any:
    if not isinstance(value, bool):
        raise refuse(field, value, "True or False")
    return value


def string(field: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise refuse(field, value, "a string")
    return str(value)


def mapping(field: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise refuse(field, value, "a dict")
    return dict(value)


def anything(_field: str, value: Any) -> Any:
    return value


def integer(low: int | None = None) -> Rule:
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


def number(low: float | None = None, high: float | None = None, *, above: bool = False) -> Rule:
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


def list_of(kinds: tuple[type, ...], allowed: str, *, alone: type | None = str) -> Rule:
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


strings = list_of((str,), "a string or a list of strings")
token_ids = list_of((int,), "a list of token ids, or a string of them with commas")
