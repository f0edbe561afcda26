"""The JSON schema of a Python type.

Servers silently drop a constraint that they cannot compile, so the schemas made here keep to
keywords that the grammar engines in use understand. Objects are closed
(`additionalProperties: false`): a model that may add keys does.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import inspect as mi

from ..errors import ValidationError
from . import annotations as notes
from .field_objects import is_field_object
from .normalize import hoist, portable, string_format
from .pydantic_types import adapter

__all__ = ["Schema", "constraints_of", "schema_of", "schemas_of", "type_name"]

Schema = dict[str, Any]


def schema_of(tp: Any) -> Schema:
    """Make the JSON schema of a type, as `json_schema=` takes it.

    Descriptions come from `msgspec.Meta`, pydantic's `Field`, strings in `Annotated`, field
    metadata and docstrings; constraints from the first two, annotated-types and attrs validators.
    Reading an answer checks all of them.

    Args:
        tp: msgspec Struct, dataclass, TypedDict, NamedTuple, attrs class, pydantic model, enum,
            `Literal`, a union or container of these, or a plain type such as `int`.

    Raises:
        ValidationError: the type cannot be described in JSON, or a constraint means nothing
            for the type it is given for.
    """
    try:
        hash(tp)
    except TypeError:  # metadata in Annotated may be anything
        return _build(tp)
    return copy.deepcopy(_cached(tp))


def _build(tp: Any) -> Schema:
    (schema,), definitions = schemas_of([tp], exact=True)
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    if name and len(schema) == 1 and not _refers(definitions, schema["$ref"]):
        schema = definitions.pop(name)
    return {**schema, "$defs": definitions} if definitions else schema


_cached = functools.lru_cache(maxsize=256)(_build)


def schemas_of(types: Sequence[Any], *, exact: bool) -> tuple[list[Schema], dict[str, Schema]]:
    """Schemas of several types, and the definitions that they share.

    Dates and the like are described by patterns if `exact`, for an engine that enforces them to
    the letter; otherwise by formats, which a model that reads the schema knows.
    """
    builder = _Builder(exact=exact)
    return [builder.of_type(tp) for tp in types], builder.definitions


def constraints_of(tp: Any) -> tuple[Schema, dict[str, Schema]] | None:
    """The schema of a type with constraints that msgspec does not check; None without such."""
    if adapter(tp) is not None:  # pydantic checks its own
        return None
    builder = _Builder(exact=None)
    schema = builder.of_type(tp)
    return (schema, builder.definitions) if builder.constrained else None


def _refers(node: Any, ref: str) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == ref or any(_refers(value, ref) for value in node.values())
    return isinstance(node, list) and any(_refers(item, ref) for item in node)


class _Builder:
    """Makes the schemas of types, and collects the definitions of classes and enums by name.

    Attributes:
        constrained: True if a type had constraints that msgspec does not check.
    """

    def __init__(self, *, exact: bool | None) -> None:
        self._exact = exact  # None: dates and the like are any strings
        self.constrained = False
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of_type(self, tp: Any) -> Schema:
        try:
            model = adapter(tp)
            if model is not None:
                return self._of_model(tp, model)
            schema = self.of_node(mi.type_info(notes.gather(tp)))
        except (TypeError, NameError, RuntimeError, ValueError) as error:
            if isinstance(error, ValidationError):
                raise
            raise ValidationError(
                f"{type_name(tp)} has no JSON schema: {error}. For a choice between classes, make "
                "them msgspec Structs with a tag (`class A(msgspec.Struct, tag=True)`) or "
                "pydantic models.",
                field="json_schema",
            ) from error
        return schema

    def _constrained(self, schema: Schema, found: notes.Notes) -> Schema:
        if found.keys() - {"description"}:
            self.constrained = True
        return notes.constrain(schema, found)

    def _of_model(self, tp: Any, model: Any) -> Schema:
        schema = hoist(portable(model.json_schema(), exact=bool(self._exact)), self.definitions)
        if "properties" not in schema:
            return schema
        if self.definitions.get(name := type_name(tp)) == schema:  # another model brought it
            return {"$ref": f"#/$defs/{name}"}
        return self._definition(tp, lambda: schema)

    def of_node(self, node: mi.Type) -> Schema:
        match node:
            case mi.Metadata():
                schema = {**self.of_node(node.type), **(node.extra_json_schema or {})}
                return self._constrained(schema, (node.extra or {}).get(notes.NOTES, {}))
            case mi.AnyType() | mi.RawType():
                return {}
            case mi.NoneType():
                return {"type": "null"}
            case mi.BoolType():
                return {"type": "boolean"}
            case mi.IntType() | mi.FloatType():
                return _number(node)
            case mi.StrType():
                pattern = {"pattern": node.pattern} if node.pattern else {}
                return {"type": "string", **_sizes(node, "Length"), **pattern}
            case mi.DateTimeType():
                return self._string("local date-time" if node.tz is False else "date-time")
            case mi.TimeType():
                return self._string("time" if node.tz else "local time")
            case mi.DateType():
                return self._string("date")
            case mi.UUIDType():
                return self._string("uuid")
            case mi.TimeDeltaType():
                return self._string("duration")
            case mi.DecimalType():
                return self._string("decimal")
            case mi.BytesType() | mi.ByteArrayType() | mi.MemoryViewType():
                return self._string("base64")
            case mi.LiteralType():
                return {"enum": list(node.values)}
            case mi.UnionType():
                return {"anyOf": [self.of_node(member) for member in node.types]}
            case mi.TupleType():
                return _fixed_array([self.of_node(item) for item in node.item_types])
            case mi.CollectionType():
                items = self.of_node(node.item_type)
                return {"type": "array", "items": items, **_sizes(node, "Items")}
            case mi.DictType():
                return self._mapping(node)
            case mi.EnumType():
                return self._definition(node.cls, lambda: _enum(node.cls))
            case mi.StructType(array_like=True) | mi.NamedTupleType():
                return self._definition(node.cls, lambda: self._array_class(node))
            case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
                return self._definition(node.cls, lambda: self._object_class(node))
            case mi.CustomType():
                model = adapter(node.cls)
                if model is not None:
                    return self._of_model(node.cls, model)
        cls = getattr(node, "cls", type(node))
        raise ValidationError(
            f"{type_name(cls)} has no JSON schema. Use a msgspec Struct, a dataclass, a TypedDict, "
            "an attrs class or a pydantic model.",
            field="json_schema",
        )

    def _string(self, kind: str) -> Schema:
        known = {} if self._exact is None else string_format(kind, exact=self._exact)
        return {"type": "string", **known}

    def _definition(self, cls: Any, build: Any) -> Schema:
        name = self._names.get(cls)
        if name is None:
            name = _free_name(type_name(cls), self.definitions)
            self._names[cls] = name
            self.definitions[name] = {}  # taken, before fields that refer back to it
            self.definitions[name] = build()
        return {"$ref": f"#/$defs/{name}"}

    def _object_class(self, node: mi.StructType | mi.DataclassType | mi.TypedDictType) -> Schema:
        origin = getattr(node.cls, "__origin__", node.cls)
        known, types = notes.field_notes(origin), notes.field_types(origin)
        properties: dict[str, Schema] = {}
        if isinstance(node, mi.StructType) and node.tag_field is not None:
            properties[node.tag_field] = {"enum": [node.tag]}
        required = list(properties)
        for field in node.fields:
            described = known.get(field.name, {})
            text = {k: described[k] for k in ("description",) if k in described}
            constraints = {k: v for k, v in described.items() if k != "description"}
            written = self._constrained(self._of_field(field, types), constraints)
            properties[field.encode_name] = {**text, **written, **_default(field, origin)}
            if field.required:
                required.append(field.encode_name)
        return {
            **_heading(origin, node.cls),
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _of_field(self, field: mi.Field, types: dict[str, Any]) -> Schema:
        """Schema of a field, with metadata that msgspec does not report."""
        if field.name not in types:
            return self.of_node(field.type)
        tp = types[field.name]
        if not _type_variables(tp):
            return self.of_node(mi.type_info(tp))
        # Of a generic class msgspec alone knows the type; what is said of the field holds for it.
        outer = [item.extra for item in getattr(tp, "__metadata__", ()) if item.extra]
        found = outer[-1].get(notes.NOTES, {}) if outer else {}
        return self._constrained(self.of_node(field.type), found)

    def _array_class(self, node: mi.StructType | mi.NamedTupleType) -> Schema:
        types = notes.field_types(getattr(node.cls, "__origin__", node.cls))
        for field in node.fields:
            _default(field, node.cls)
        items = [self._of_field(field, types) for field in node.fields]
        if isinstance(node, mi.StructType) and node.tag_field is not None:
            items.insert(0, {"enum": [node.tag]})
        origin = getattr(node.cls, "__origin__", node.cls)
        return {**_heading(origin, node.cls), **_fixed_array(items)}

    def _mapping(self, node: mi.DictType) -> Schema:
        values = self.of_node(node.value_type)
        key = node.key_type.type if isinstance(node.key_type, mi.Metadata) else node.key_type
        sizes = _sizes(node, "Properties")
        if isinstance(key, mi.IntType):
            by_key = {"^(0|-?[1-9][0-9]{0,17})$": values}
            return {"type": "object", "patternProperties": by_key, **_closed(sizes)}
        if isinstance(key, mi.LiteralType | mi.EnumType):
            names = key.values if isinstance(key, mi.LiteralType) else _values(key.cls)
            by_name = {str(name): values for name in names}
            return {"type": "object", "properties": by_name, **_closed(sizes)}
        return {"type": "object", "additionalProperties": values, **sizes}


def _closed(schema: Schema) -> Schema:
    return {"additionalProperties": False, **schema}


def _number(node: mi.IntType | mi.FloatType) -> Schema:
    schema: Schema = {"type": "integer" if isinstance(node, mi.IntType) else "number"}
    for name, keyword in notes.BOUNDS.items():
        if (bound := getattr(node, name)) is not None:
            schema[keyword] = bound
    return schema


def _sizes(node: Any, suffix: str) -> Schema:
    sizes = {f"min{suffix}": node.min_length, f"max{suffix}": node.max_length}
    return {keyword: size for keyword, size in sizes.items() if size is not None}


def _fixed_array(items: list[Schema]) -> Schema:
    return {
        "type": "array",
        "prefixItems": items,
        "items": False,
        "minItems": len(items),
        "maxItems": len(items),
    }


def _enum(cls: Any) -> Schema:
    return {**_heading(cls, cls), "enum": _values(cls)}


def _values(cls: Any) -> list[Any]:
    return [member.value for member in cls]


def _heading(origin: Any, cls: Any) -> Schema:
    text = notes.summary(origin)
    return {"title": type_name(cls), **({"description": text} if text else {})}


def _type_variables(tp: Any) -> bool:
    return isinstance(tp, TypeVar) or any(_type_variables(arg) for arg in get_args(tp))


def _default(field: mi.Field, cls: Any) -> Schema:
    if is_field_object(field.default):
        raise ValidationError(
            f"the default of {type_name(cls)}.{field.name} is {field.default!r:.80}, which this "
            "kind of class takes for the value itself: use the field function of its own "
            "library, or Annotated[type, ...]",
            field="json_schema",
        )
    if field.default_factory in (list, dict, set):
        return {"default": {} if field.default_factory is dict else []}
    if field.default is msgspec.NODEFAULT:
        return {}
    try:
        return {"default": msgspec.to_builtins(field.default)}
    except TypeError:  # a default that JSON cannot express says nothing to a model
        return {}


def type_name(tp: Any) -> str:
    """Name of a type without modules: `Recipe`, `Page[Recipe]`."""
    return re.sub(r"[\w<>.]+\.", "", str(tp)) if get_args(tp) else getattr(tp, "__name__", repr(tp))


def _free_name(name: str, taken: Iterable[str]) -> str:
    base = re.sub(r"\W+", "_", name).strip("_")
    free, count = base, 2
    while free in taken:
        free, count = f"{base}_{count}", count + 1
    return free
