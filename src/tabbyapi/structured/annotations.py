"""What the author of a class wrote about its fields, as JSON schema keywords.

Sources, strongest first: metadata in `Annotated` (a bare string, `typing_extensions.Doc`,
annotated-types, pydantic's `Field`), `metadata={"description": ...}` and validators of
dataclass and attrs fields, and docstrings: an "Attributes" section, or a string below the field.
`msgspec.Meta` is not handled here: msgspec reports it with the type.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

__all__ = ["BOUNDS", "annotation_notes", "field_notes", "summary"]

Notes = dict[str, Any]

BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_NOT_THE_AUTHORS = {"abc", "builtins", "enum", "msgspec", "typing"}
_OPERATORS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}


def summary(cls: Any) -> str:
    """The description in a class's own docstring, without its sections; "" if it has none."""
    parsed = _docstring(cls)
    return (parsed.description or "").strip() if parsed is not None else ""


def field_notes(cls: Any) -> dict[str, Notes]:
    """Keywords for each field of a class that has any."""
    notes: dict[str, Notes] = {}
    for base in reversed(getattr(cls, "__mro__", (cls,))):
        parsed = _docstring(base)
        for param in parsed.params if parsed is not None else ():
            if param.description:
                notes.setdefault(param.arg_name, {})["description"] = param.description.strip()
    for name, metadata, validator in _declared_fields(cls):
        found = _validator_notes(validator)
        if isinstance(description := metadata.get("description"), str):
            found["description"] = description
        notes.setdefault(name, {}).update(found)
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # names that only a type checker can see
        hints = {}
    for name, hint in hints.items():
        notes.setdefault(name, {}).update(annotation_notes(hint))
    return {name: found for name, found in notes.items() if found}


def annotation_notes(hint: Any) -> Notes:
    """Keywords in the `Annotated` metadata of one annotation."""
    if get_origin(hint) is not Annotated:
        # Required[...] and the like wrap the annotation in a TypedDict.
        args = get_args(hint)
        return annotation_notes(args[0]) if len(args) == 1 and _is_qualifier(hint) else {}
    base, *metadata = get_args(hint)
    return _metadata_notes(metadata, sized="Items" if _is_container(base) else "Length")


def _is_qualifier(hint: Any) -> bool:
    return str(get_origin(hint)).rpartition(".")[2] in {"Required", "NotRequired", "ReadOnly"}


def _is_container(tp: Any) -> bool:
    kind = get_origin(tp) or tp
    return isinstance(kind, type) and issubclass(kind, (list, tuple, set, frozenset))


def _metadata_notes(metadata: Iterable[Any], *, sized: str) -> Notes:
    notes: Notes = {}
    for item in metadata:
        if isinstance(item, msgspec.Meta):
            continue
        if isinstance(item, str):
            notes["description"] = item
            continue
        for name in ("documentation", "description"):
            if isinstance(text := getattr(item, name, None), str):
                notes["description"] = text
        for name, keyword in BOUNDS.items():
            if isinstance(bound := getattr(item, name, None), (int, float)):
                notes[keyword] = bound
        for name in ("min", "max"):
            if isinstance(bound := getattr(item, f"{name}_length", None), int):
                notes[f"{name}{sized}"] = bound
        if isinstance(pattern := getattr(item, "pattern", None), str):
            notes["pattern"] = pattern
        nested = getattr(item, "metadata", None)  # pydantic's Field keeps its bounds there
        if isinstance(nested, (list, tuple)):
            notes.update(_metadata_notes(nested, sized=sized))
    return notes


def _declared_fields(cls: Any) -> list[tuple[str, Any, Any]]:
    """Name, metadata and validator of the fields of a dataclass or attrs class."""
    dataclass_fields = getattr(cls, "__dataclass_fields__", {}).values()
    attrs_fields = getattr(cls, "__attrs_attrs__", ())
    return [(f.name, f.metadata, None) for f in dataclass_fields] + [
        (f.name, f.metadata, f.validator) for f in attrs_fields
    ]


def _validator_notes(validator: Any) -> Notes:
    """Keywords for the validators that come with attrs; others say nothing a schema can."""
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
