"""Field objects as defaults: what `pydantic.Field()`, `dataclasses.field()` and others return.

A class decorator takes them apart. In a function, or in a class of another library, they would
be taken for the default itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .annotations import NOTES, meaningless, validator_notes

__all__ = ["is_field_object", "unwrap_field"]

_CLASSES = {"Field", "FieldInfo", "_CountingAttr"}
_NO_DEFAULT = {"PydanticUndefinedType", "_MISSING_TYPE", "NoDefaultType", "_Nothing", "ellipsis"}


def is_field_object(value: Any) -> bool:
    """True for a field object of any library."""
    cls = type(value)
    if isinstance(value, type) or cls.__module__ == "builtins":
        return False
    return cls.__name__ in _CLASSES or all(
        hasattr(value, name) for name in ("default", "default_factory")
    )


def unwrap_field(value: Any) -> tuple[Callable[[], Any] | None, list[Any]]:
    """Take a field object apart.

    Returns:
        What makes the default (None if the field is required), and metadata for `Annotated`.

    Raises:
        ValidationError: it is of a library that is not known here.
    """
    metadata: list[Any] = []
    if type(value).__name__ == "_CountingAttr":  # attrs.field
        default = value._default
        factory = getattr(default, "factory", None)
        if notes := validator_notes(value._validator):
            metadata.append(msgspec.Meta(extra={NOTES: notes}))
    elif hasattr(value, "default") and hasattr(value, "default_factory"):
        default, factory = value.default, value.default_factory
    else:
        raise meaningless(f"{value!r:.80} as a default", "give the default itself")
    described = getattr(value, "metadata", None)
    if not isinstance(described, Mapping):  # pydantic's: it carries its own constraints
        metadata.append(value)
    elif isinstance(text := described.get("description"), str):
        metadata.append(text)
    if callable(factory):
        return factory, metadata
    if type(default).__name__ in _NO_DEFAULT:
        return None, metadata
    return lambda: copy.deepcopy(default), metadata
