"""Answers of a Python type: the JSON schema of a type, and reading an answer as that type.

Used by `client.chat.parse` and `parse_stream`. Types may be msgspec Structs, dataclasses,
TypedDicts, attrs classes, pydantic models, enums, literals, unions, and containers of them.
"""

from .parsed import AsyncParsedStream, Parsed, ParsedStream
from .reading import PartialReader, read
from .schema import schema_of

__all__ = [
    "AsyncParsedStream",
    "Parsed",
    "ParsedStream",
    "PartialReader",
    "read",
    "schema_of",
]
