"""Answers of a Python type: the JSON schema of a type, and reading an answer as that type.

Sits above services/; `client.chat.parse` and `parse_stream` are the front door. Types may be
msgspec Structs, dataclasses, TypedDicts, attrs classes, pydantic models, enums, literals,
unions, and containers of them.
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
