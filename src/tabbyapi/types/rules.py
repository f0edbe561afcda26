"""Rules of single values, used in the annotations of parameters.

    top_k: Annotated[int | None, Range(-1)]

A rule is a `Range`, or a function that returns the value to send (usually the same) and raises
`ValidationError` with the field, the value and what is allowed. A parameter without a rule is
checked by its type alone.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

from ..errors import ValidationError

__all__ = ["CONFIG", "Config", "Range", "Rule", "refuse"]

Rule = Callable[[str, Any], Any]
"""Called with the name of the field and the value."""


class Config(Enum):
    """The type of `CONFIG`."""

    CONFIG = "CONFIG"

    def __repr__(self) -> str:
        return "tabbyapi.CONFIG"


CONFIG = Config.CONFIG
"""As a load parameter: what the server's config.yml says. It is sent as null; what is left out
takes TabbyAPI's own default instead.

    client.models.load("name", output_chunking=tabbyapi.CONFIG)
"""


class Range(msgspec.Struct, frozen=True):
    """Bounds of a number.

    Attributes:
        low, high: smallest and largest value; None = no bound.
        above: True if `low` itself is not allowed.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False

    def holds(self, number: float) -> bool:
        low, high = self.low, self.high
        if low is not None and (number < low or (self.above and number == low)):
            return False
        return high is None or number <= high


def refuse(field: str, value: Any, allowed: str) -> ValidationError:
    """The error for a value that is not allowed."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:80] + "..."
    return ValidationError(f"{field} must be {allowed}, not {shown}", field=field)


def name(field: str, value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise refuse(field, value, "a name")
    return str(value)


def not_empty(field: str, value: Any) -> str:
    """A constraint: the server takes an empty one for none."""
    if not isinstance(value, str):
        raise refuse(field, value, "a string")
    if not value:
        raise ValidationError(
            f'{field} is "", which constrains nothing: leave it out, or give a pattern',
            field=field,
        )
    return str(value)


def logit_bias(field: str, value: Any) -> dict[str, Any]:
    """Token ids and finite numbers."""
    if not isinstance(value, Mapping):
        raise refuse(field, value, "a dict")
    for token, added in value.items():
        if isinstance(token, bool) or not str(token).isdecimal():
            raise refuse(field, token, "a dict with token ids as keys")
        if isinstance(added, bool) or not hasattr(added, "__float__"):
            raise refuse(f"{field}[{token}]", added, "a number")
        if not -1e308 < added < 1e308:
            raise refuse(f"{field}[{token}]", added, "a number, and finite")
    return {str(token): added for token, added in value.items()}


_CACHE_MODE = re.compile(r"FP16|Q[468]|[2-8],[2-8]")


def cache_mode(field: str, value: Any) -> Any:
    """A precision that TabbyAPI has. It takes any other string for FP16."""
    if isinstance(value, str) and _CACHE_MODE.fullmatch(value):
        return value
    raise refuse(
        field,
        value,
        '"FP16", "Q8", "Q6", "Q4", or bits of keys and values from 2 to 8 such as "8,4" (the '
        "server would use FP16 in silence)",
    )


def cache_size(field: str, value: Any) -> Any:
    """A multiple of 256."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value % 256:
        raise refuse(field, value, "a multiple of 256")
    return value


def secret(field: str, value: Any) -> Any:
    """A string that no message shows."""
    if not isinstance(value, str):
        raise ValidationError(f"{field} must be a string", field=field)
    return value
