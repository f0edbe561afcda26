"""Check JSON values against the constraints of a schema: bounds, lengths, patterns.

msgspec checks shapes, and the constraints of `msgspec.Meta`. These checks cover the constraints
of other libraries, wherever they stand: in parameters, containers, unions, and fields of classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from .schema import Schema, constraints_of

__all__ = ["Check", "check_of"]

Check: TypeAlias = Callable[[Any], tuple[str, str] | None]
"""Takes decoded JSON; returns what is wrong and the JSON path of it, None if nothing is."""

_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": (">=", lambda value, bound: value >= bound),
    "exclusiveMinimum": (">", lambda value, bound: value > bound),
    "maximum": ("<=", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("<", lambda value, bound: value < bound),
    "multipleOf": ("a multiple of", lambda value, bound: not value % bound),
}
_SIZES = {"string": "Length", "array": "Items", "object": "Properties"}


def check_of(tp: Any) -> Check | None:
    """The check of a type's constraints that msgspec does not make; None if there are none."""
    try:
        hash(tp)
    except TypeError:  # metadata in Annotated may be anything
        return _check_of(tp)
    return _cached(tp)


def _check_of(tp: Any) -> Check | None:
    found = constraints_of(tp)
    if found is None:
        return None
    schema, definitions = found
    return lambda value: next(_problems(value, schema, definitions, "$"), None)


_cached = lru_cache(maxsize=256)(_check_of)


def _problems(
    value: Any, schema: Schema, definitions: dict[str, Schema], path: str
) -> Iterator[tuple[str, str]]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")] | schema
    members = schema.get("anyOf", ())
    fitting = [each for each in members if _kind_of(value) in _kinds(each, definitions)]
    found = [next(_problems(value, each, definitions, path), None) for each in fitting]
    if found and None not in found:
        yield next(problem for problem in found if problem is not None)
    if "enum" in schema and value not in schema["enum"]:
        yield f"Expected one of {schema['enum']}", path
    kind = _kind_of(value)
    if kind == "string" and schema.get("type") in ("integer", "number"):
        try:  # tools read "2" as 2
            value, kind = float(value), "number"
        except ValueError:
            return
    if kind in ("integer", "number"):
        for keyword, (words, holds) in _BOUNDS.items():
            if keyword in schema and not holds(value, schema[keyword]):
                yield f"Expected a number {words} {schema[keyword]}", path
    elif kind in _SIZES:
        yield from _size_problems(value, schema, _SIZES[kind], path)
    if kind == "string" and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"Expected a string that matches {schema['pattern']!r}", path
    elif kind == "array":
        first = schema.get("prefixItems", ())
        for i, item in enumerate(value):
            each = first[i] if i < len(first) else schema.get("items")
            if isinstance(each, dict):
                yield from _problems(item, each, definitions, f"{path}[{i}]")
    elif kind == "object":
        known = schema.get("properties", {})
        others = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        for name, item in value.items():
            for each in [known[name]] if name in known else others:
                if isinstance(each, dict):
                    yield from _problems(item, each, definitions, f"{path}.{name}")


def _size_problems(value: Any, schema: Schema, suffix: str, path: str) -> Iterator[tuple[str, str]]:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if least is not None and len(value) < least:
        yield f"Expected length >= {least}", path
    if most is not None and len(value) > most:
        yield f"Expected length <= {most}", path


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for cls, kind in ((int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, cls):
            return kind
    return "object" if isinstance(value, dict) else "null"


def _kinds(schema: Schema, definitions: dict[str, Schema]) -> tuple[str, ...]:
    """The kinds of values that a schema takes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")] | schema
    if "enum" in schema:
        return tuple(_kind_of(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind is None:
        return ("boolean", "integer", "number", "string", "array", "object", "null")
    return ("integer", "number") if kind == "number" else (kind,)
