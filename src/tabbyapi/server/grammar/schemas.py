"""JSON schemas, adapted to what the engine's llguidance makes of them.

Two things are put differently:

- Long strings of `const` and `enum`. It forgets the last characters of a literal that is longer
  than about 30 characters and has some that JSON escapes. A pattern that leaves each of those a
  choice is no literal to it, and a second pattern takes the choice away.
- `format`. It refuses a schema with a format that it does not know, and gives up in the middle of
  an answer at `uri`. Those are annotations here, as JSON Schema has it, and a `uri` has a pattern.
"""

from __future__ import annotations

from typing import Any

__all__ = ["FORMATS", "adapted"]

FORMATS = frozenset(
    ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)
"""The formats that are enforced as such."""

_URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-Z_a-z~\[\]]+$"  # its characters, but no more of its shape

_SHORT = 16
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_VALUES = ("const", "enum", "default", "examples")  # below them are values, not schemas


def adapted(schema: Any) -> Any:
    """The same schema, with those strings as patterns, and formats that can be enforced."""
    if isinstance(schema, list):
        return [adapted(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            result[key] = {name: adapted(member) for name, member in value.items()}
        else:
            result[key] = value if key in _VALUES else adapted(value)
    name = result.get("format")
    if isinstance(name, str) and name not in FORMATS:
        del result["format"]
        if name == "uri" and schema.get("type") == "string":
            result["allOf"] = [*_members(result), {"type": "string", "pattern": _URI}]
    if _is_lost(schema.get("const")):
        value = result.pop("const")
        result["allOf"] = [*_members(result), *_patterns(value)]
    values = schema.get("enum")
    if isinstance(values, list) and any(map(_is_lost, values)):
        del result["enum"]
        kept = [value for value in values if not _is_lost(value)]
        choices = [{"allOf": _patterns(value)} for value in values if _is_lost(value)]
        if kept:
            choices.append({"enum": kept})
        result["allOf"] = [*_members(result), {"anyOf": choices}]
    return result


def _members(schema: dict[str, Any]) -> list[Any]:
    members = schema.get("allOf")
    return members if isinstance(members, list) else []


def _is_lost(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _SHORT and any(map(_is_escaped, value))


def _is_escaped(char: str) -> bool:
    return char in '"\\' or char < " " or char == "\x7f"


def _patterns(value: str) -> list[dict[str, str]]:
    unused = next((chr(code) for code in range(1, 32) if chr(code) not in value), None)
    if unused is None:  # no real text holds all of them
        return [{"type": "string", "const": value}]
    spelled = "".join(
        f"[{unused}{_plain(char)}]" if _is_escaped(char) else _plain(char) for char in value
    )
    return [
        {"type": "string", "pattern": f"^{spelled}$"},
        {"type": "string", "pattern": f"^[^{unused}]*$"},
    ]


def _plain(char: str) -> str:
    return "\\" + char if char in r"\.+*?()|[]{}^$" else char
