"""Rewrite JSON schemas of other libraries in keywords that grammar engines understand."""

from __future__ import annotations

from typing import Any

__all__ = ["hoist", "portable", "string_format"]

_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_YEAR = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([13579][26]|[2468][048]|0[48])00)"
_DATE = f"({_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_ZONE = "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"

PATTERNS = {
    "base64": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}{_ZONE}$",
    "decimal": r"^-?(0|[1-9][0-9]{0,27})(\.[0-9]{1,28})?$",
    "duration": (
        "^P([0-9]{1,5}D|([0-9]{1,5}D)?T([0-9]{1,5}H([0-9]{1,5}M)?([0-9]{1,5}S)?"
        "|[0-9]{1,5}M([0-9]{1,5}S)?|[0-9]{1,5}S))$"
    ),
    "local date-time": f"^{_DATE}T{_TIME}$",
    "local time": f"^{_TIME}$",
    "time": f"^{_TIME}{_ZONE}$",
}
"""For types that JSON writes as strings. Every string that matches can be read back, which is
not so of the formats of JSON schema: they allow leap seconds, and 30 February.
"""

_FORMATS = {
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid",
}  # fmt: skip
_DROPPED = {"uniqueItems", "propertyNames", "discriminator", "contentMediaType", "writeOnly"}
# Their values are names or data, not schemas.
_MAPS = {"properties", "$defs", "patternProperties"}
_DATA = {"default", "examples", "enum", "const", "required"}


def portable(schema: dict[str, Any], *, exact: bool) -> dict[str, Any]:
    """Remove keywords that would make an engine drop the whole constraint.

    They are still checked when the answer is read. `exact` replaces formats by patterns.
    """
    definitions = schema.get("$defs", {})

    def rewritten(node: Any) -> Any:
        if isinstance(node, list):
            return [rewritten(item) for item in node]
        if not isinstance(node, dict):
            return node
        kept: dict[str, Any] = {}
        for keyword, value in node.items():
            if keyword in _DROPPED:
                continue
            if keyword in _MAPS:
                kept[keyword] = {name: rewritten(each) for name, each in value.items()}
            elif keyword in _DATA:
                kept[keyword] = value
            elif keyword == "oneOf":
                kept["anyOf"] = rewritten(value)
            elif keyword == "format":
                kept.update(string_format(value, exact=exact))
            elif keyword == "contentEncoding":
                kept.update(string_format(value, exact=True))
            else:
                kept[keyword] = rewritten(value)
        names = _key_names(node.get("propertyNames", {}), definitions)
        if names and "additionalProperties" in kept:  # a mapping whose keys are known
            kept["properties"] = dict.fromkeys(names, kept.pop("additionalProperties"))
        if "properties" in kept:
            kept.setdefault("additionalProperties", False)
        return kept

    whole: dict[str, Any] = rewritten(schema)
    return whole


def _key_names(keys: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    keys = definitions.get(keys.get("$ref", "").removeprefix("#/$defs/"), keys)
    return [str(name) for name in keys.get("enum", [keys["const"]] if "const" in keys else [])]


def string_format(name: str, *, exact: bool) -> dict[str, Any]:
    """The keyword for a kind of string: a pattern if there is one and `exact`, or a format."""
    if name in PATTERNS and (exact or name not in _FORMATS):
        return {"pattern": PATTERNS[name]}
    return {"format": name} if name in _FORMATS else {}


def hoist(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Move the `$defs` of a schema into `definitions`; a name already taken gets a new one."""
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
