"""Pydantic types, without importing pydantic: a program that uses a model has imported it."""

from __future__ import annotations

import functools
import sys
from typing import Any, get_args, get_origin

import msgspec

__all__ = ["adapter", "decode_custom"]

_CLASS_MARKS = ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__")


def adapter(tp: Any) -> Any | None:
    """The `pydantic.TypeAdapter` for a type that is, or is built of, pydantic models."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not _mentions_model(tp):
        return None
    return _adapter(tp)


@functools.lru_cache(maxsize=256)
def _adapter(tp: Any) -> Any:
    return sys.modules["pydantic"].TypeAdapter(tp)


def _mentions_model(tp: Any) -> bool:
    # Models and pydantic's dataclasses both carry their validator. Unions and containers are
    # searched; a class of another kind is read by msgspec, field by field.
    if isinstance(tp, type) and hasattr(tp, "__pydantic_validator__"):
        return True
    if any(hasattr(get_origin(tp), mark) for mark in _CLASS_MARKS):
        return False
    return any(_mentions_model(arg) for arg in get_args(tp))


def decode_custom(tp: Any, value: Any) -> Any:
    """msgspec's `dec_hook`: a pydantic model as a field of a type that msgspec reads."""
    model = adapter(tp)
    if model is None:
        raise NotImplementedError
    return model.validate_json(msgspec.json.encode(value))
