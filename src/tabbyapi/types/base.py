"""Base of the values that come from a server."""

from typing import Any

import msgspec

__all__ = ["Value"]


class Value(msgspec.Struct, repr_omit_defaults=True):
    """A value that prints what differs from its defaults, and turns into dicts and JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The value as dicts, lists, strings and numbers, with the field names of the wire."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def to_json(self, *, indent: int | None = None) -> str:
        """The value as JSON.

        Args:
            indent: spaces for each level; None = on one line.
        """
        data = msgspec.json.encode(self)
        return (data if indent is None else msgspec.json.format(data, indent=indent)).decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """The type as pydantic and FastAPI see it: checked by msgspec, sent as `to_dict`."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else msgspec.convert(value, cls),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )
