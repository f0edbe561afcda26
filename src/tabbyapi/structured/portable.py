"""Rewrites of JSON schemas from other libraries into keywords that grammar engines understand."""

from __future__ import annotations

from typing import Any

__all__ = ["PATTERNS", "hoist", "portable"]

PATTERNS = {
    "base64": ("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"),
    "decimal": r"^-?(0|[1-9][0-9]{0,27})(\.[0-9]{1,28})?$",
    "duration": (
        "^P([0-9]{1,5}D|([0-9]{1,5}D)?T([0-9]{1,5}H([0-9]{1,5}M)?([0-9]{1,5}S)?"
        "|[0-9]{1,5}M([0-9]{1,5}S)?|[0-9]{1,5}S))$"
    ),
}
"""For types that JSON writes as strings: every string that matches can be read back."""

_FORMATS = {
    "date", "date-time", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid",
}  # fmt: skip
_DROPPED = {"uniqueItems", "propertyNames", "discriminator", "contentMediaType", "writeOnly"}
# Their values are names or data, not schemas.
_MAPS = {"properties", "$defs", "patternProperties"}
_DATA = {"default", "examples", "enum", "const", "required"}


def portable(node: Any) -> Any:
    """The schema without keywords that would make an engine drop the whole constraint.

    A dropped keyword is checked all the same when the answer is read.
    """
    if isinstance(node, list):
        return [portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema: dict[str, Any] = {}
    for keyword, value in node.items():
        if keyword in _DROPPED:
            continue
        if keyword in _MAPS:
            schema[keyword] = {name: portable(each) for name, each in value.items()}
        elif keyword in _DATA:
            schema[keyword] = value
        elif keyword == "oneOf":
            schema["anyOf"] = portable(value)
        elif keyword == "format":
            schema.update(_format(value))
        elif keyword == "contentEncoding":
            schema["pattern"] = PATTERNS["base64"]
        else:
            schema[keyword] = portable(value)
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def _format(value: Any) -> dict[str, Any]:
    if value in _FORMATS:
        return {"format": value}
    if value == "duration":
        return {"pattern": PATTERNS["duration"]}
    return {}


def hoist(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Moves the `$defs` of a schema into `definitions`; a name already taken gets a new one."""
    own = schema.pop("$defs", {})
    names: dict[str, str] = {}
    for name, definition in own.items():
        free, count = name, 2
        while free in names.values() or definitions.get(free, definition) != definition:
            free, count = f"{name}_{count}", count + 1
        names[name] = free
    refs = {f"#/$defs/{name}": f"#/$defs/{free}" for name, free in names.items()}
    definitions.update({names[name]: _renamed(each, refs) for name, each in own.items()})
    moved: dict[str, Any] = _renamed(schema, refs)
    return moved


def _renamed(node: Any, refs: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(item, refs) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: refs.get(value, value)
        if key == "$ref" and isinstance(value, str)
        else _renamed(value, refs)
        for key, value in node.items()
    }
