"""Descriptions and constraints of types and their fields, as JSON schema keywords.

Sources, strongest first: metadata in `Annotated` (a bare string, `typing_extensions.Doc`,
annotated-types, pydantic's `Field`), `metadata={"description": ...}` and validators of
dataclass and attrs fields, and docstrings: an "Attributes" section, or a string below the field.
msgspec reports its own `msgspec.Meta`; `gather` puts all other metadata into that form.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ValidationError

__all__ = [
    "BOUNDS",
    "NOTES",
    "Notes",
    "constrain",
    "field_notes",
    "field_types",
    "gather",
    "meaningless",
    "summary",
    "validator_notes",
]

Notes = dict[str, Any]

BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
SIZES = ("min_length", "max_length")
NOTES = "tabbyapi.notes"
"""Key of the notes in `msgspec.Meta.extra`."""

_NUMBERS = ("integer", "number")
_MEANT_FOR: dict[str, dict[str, str]] = {
    **{keyword: dict.fromkeys(_NUMBERS, keyword) for keyword in BOUNDS.values()},
    "min_length": {"string": "minLength", "array": "minItems", "object": "minProperties"},
    "max_length": {"string": "maxLength", "array": "maxItems", "object": "maxProperties"},
    "pattern": {"string": "pattern"},
}
"""For each constraint, the types that have it and the keyword for it."""

_CODE = {"AfterValidator", "BeforeValidator", "PlainValidator", "WrapValidator", "Predicate", "Not"}
_NOT_THE_AUTHORS = {"abc", "builtins", "enum", "msgspec", "typing"}
_OPERATORS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}


def summary(cls: Any) -> str:
    """The description in a class's docstring, without its sections; "" if it has none."""
    parsed = _docstring(cls)
    return (parsed.description or "").strip() if parsed is not None else ""


def field_notes(cls: Any) -> dict[str, Notes]:
    """Notes from docstrings, metadata and validators, for each field that has any."""
    notes: dict[str, Notes] = {}
    for base in reversed(getattr(cls, "__mro__", (cls,))):
        parsed = _docstring(base)
        for param in parsed.params if parsed is not None else ():
            if param.description:
                notes.setdefault(param.arg_name, {})["description"] = param.description.strip()
    for name, metadata, validator in _declared_fields(cls):
        found = validator_notes(validator)
        if isinstance(description := metadata.get("description"), str):
            found["description"] = description
        notes.setdefault(name, {}).update(found)
    return {name: found for name, found in notes.items() if found}


def gather(hint: Any) -> Any:
    """Replace foreign metadata in a type, at any depth, by `msgspec.Meta` that carries it.

    msgspec reports such a `Meta` where it stands, as `extra[NOTES]`; other metadata it drops.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *metadata = args
        notes = _metadata_notes(metadata)
        own = [item for item in metadata if isinstance(item, msgspec.Meta)]
        changed = gather(base)
        if not notes and changed is base:
            return hint
        if notes:
            own.append(msgspec.Meta(extra={NOTES: notes}))
        return Annotated[(changed, *own)] if own else changed
    if not args or origin in (Literal, Callable):
        return hint
    changed_args = tuple(gather(arg) for arg in args)
    if all(new is old for new, old in zip(changed_args, args, strict=True)):
        return hint
    if origin in (Union, UnionType):
        return Union[changed_args]  # noqa: UP007  # built at run time
    return origin[changed_args if len(changed_args) > 1 else changed_args[0]]


def field_types(cls: Any) -> dict[str, Any]:
    """Types of a class's fields, as `gather` returns them, where it changes anything."""
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # names that only a type checker can see
        return {}
    found = {}
    for name, hint in hints.items():
        while str(get_origin(hint)).rpartition(".")[2] in {"Required", "NotRequired", "ReadOnly"}:
            (hint,) = get_args(hint)  # in a TypedDict
        gathered = gather(hint)
        if gathered is not hint:
            found[name] = gathered
    return found


def _metadata_notes(metadata: Iterable[Any]) -> Notes:
    notes: Notes = {}
    for item in metadata:
        if isinstance(item, msgspec.Meta):
            continue
        if isinstance(item, str):
            notes["description"] = item
            continue
        found: Notes = {}
        for name in ("documentation", "description"):
            if isinstance(text := getattr(item, name, None), str):
                found["description"] = text
        for name, keyword in BOUNDS.items():
            bound = getattr(item, name, None)
            if isinstance(bound, int | float | Decimal):
                found[keyword] = float(bound) if isinstance(bound, Decimal) else bound
            elif bound is not None and not callable(bound):
                raise meaningless(f"{name}={bound!r}", "numbers can be bounds")
        for name in SIZES:
            if isinstance(size := getattr(item, name, None), int):
                found[name] = size
        pattern = getattr(item, "pattern", None)
        if isinstance(pattern, str | re.Pattern):
            found["pattern"] = pattern if isinstance(pattern, str) else pattern.pattern
        nested = getattr(item, "metadata", None)  # pydantic's Field keeps its bounds there
        if isinstance(nested, list | tuple):
            found |= _metadata_notes(nested)
        if not found and type(item).__name__ in _CODE:
            raise meaningless(
                f"{type(item).__name__} in Annotated",
                "a function cannot be part of a schema; a pydantic model can call it",
            )
        notes |= found
    return notes


def constrain(schema: Notes, notes: Notes) -> Notes:
    """Add notes to a schema, as the keywords that its type has for them.

    In a union, each member that a constraint is meant for gets it.

    Raises:
        ValidationError: a constraint means nothing for this type, or is no regular expression.
    """
    added = {name: value for name, value in notes.items() if name not in _MEANT_FOR}
    for name, value in notes.items():
        if name not in _MEANT_FOR:
            continue
        if name == "pattern":
            _compiled(value)
        constrained = _with_constraint(schema, name, value)
        if constrained is None:
            raise meaningless(f"{name} {value!r}", f"it means nothing for {_kind(schema)}")
        schema = constrained
    return {**schema, **added}


def _with_constraint(schema: Notes, name: str, value: Any) -> Notes | None:
    if "anyOf" in schema:
        members = [_with_constraint(each, name, value) for each in schema["anyOf"]]
        if all(member is None for member in members):
            return None
        pairs = zip(members, schema["anyOf"], strict=True)
        return {**schema, "anyOf": [new if new is not None else old for new, old in pairs]}
    meant = _MEANT_FOR[name]
    kind = schema.get("type")
    if kind in meant:
        return {**schema, meant[kind]: value}
    if not schema.keys() & {"type", "$ref", "enum"}:  # any JSON
        return {**schema, **dict.fromkeys(meant.values(), value)}
    return None


def _kind(schema: Notes) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    return str(schema.get("type") or schema.get("$ref", "values of a list").rpartition("/")[2])


def _compiled(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise meaningless(f"pattern {pattern!r}", f"no regular expression: {error}") from None


def meaningless(what: str, why: str) -> ValidationError:
    """The error for metadata that would be ignored."""
    return ValidationError(f"{what} cannot be checked: {why}", field="json_schema")


def _declared_fields(cls: Any) -> list[tuple[str, Any, Any]]:
    """Name, metadata and validator of the fields of a dataclass or attrs class."""
    dataclass_fields = getattr(cls, "__dataclass_fields__", {}).values()
    attrs_fields = getattr(cls, "__attrs_attrs__", ())
    return [(f.name, f.metadata, None) for f in dataclass_fields] + [
        (f.name, f.metadata, f.validator) for f in attrs_fields
    ]


def validator_notes(validator: Any) -> Notes:
    """Keywords for validators that come with attrs; a schema has none for others."""
    notes: Notes = {}
    for one in getattr(validator, "_validators", (validator,)):
        operator = _OPERATORS.get(getattr(one, "compare_op", ""))
        if operator is not None:
            notes[BOUNDS[operator]] = one.bound
        elif isinstance(options := getattr(one, "options", None), (list, tuple)):
            notes["enum"] = list(options)
    return notes


@functools.lru_cache(maxsize=256)
def _docstring(cls: Any) -> Any | None:
    if cls.__module__ in _NOT_THE_AUTHORS:
        return None
    own = vars(cls).get("__doc__")
    generated = isinstance(own, str) and own.startswith(f"{cls.__name__}(")  # by @dataclass
    import docstring_parser
    from docstring_parser.attrdoc import add_attribute_docstrings

    parsed = docstring_parser.parse(inspect.cleandoc(own) if own and not generated else "")
    try:
        add_attribute_docstrings(cls, parsed)
    except (TypeError, SyntaxError):  # built in, or its source cannot be read on its own
        return parsed
    return parsed
