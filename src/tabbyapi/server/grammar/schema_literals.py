"""Long strings of `const` and `enum`, put so that the engine keeps them whole.

The engine's llguidance forgets the last characters of a literal that is longer than about 30
characters and has some that JSON escapes. A pattern that leaves each of those a choice is no
literal to it, and a second pattern takes the choice away.
"""

from __future__ import annotations

from typing import Any

__all__ = ["split_literals"]

_SHORT = 16
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_VALUES = ("const", "enum", "default", "examples")  # below them are values, not schemas


def split_literals(schema: Any) -> Any:
    """The same schema, with such strings as patterns."""
    if isinstance(schema, list):
        return [split_literals(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            result[key] = {name: split_literals(member) for name, member in value.items()}
        else:
            result[key] = value if key in _VALUES else split_literals(value)
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
    if unused is None:  # such a string is nobody's
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
