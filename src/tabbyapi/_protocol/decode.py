"""From JSON to typed values: the one place where bytes from outside are read.

The first try is msgspec's typed decoder, which takes every answer of the servers we know. What it
refuses is looked at again, slowly, and put right where the meaning is plain: a null in a field
that has a default, a whole number written as 1.0, half of a character. What is asked for (choices,
messages, lists) must be there all the same. Anything else is a `JSONError`, however deep or broken
the JSON is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

__all__ = ["Decoder", "JSONError", "decode_json", "too_deep"]

T = TypeVar("T")

Halves = dict[tuple[Any, ...], str]
"""First halves of characters whose second half may come with the next chunk, by their place."""


class JSONError(ValueError):
    """The text is no JSON, too deep, or not of the shape that was asked for."""


class Decoder(Generic[T]):
    """Typed decoder of one kind of answer.

    Attributes:
        fast: msgspec's decoder alone, for streams: it raises its own errors, RecursionError too.
    """

    __slots__ = ("_kind", "fast")

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self.fast: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode

    def __call__(self, data: bytes, halves: Halves | None = None) -> T:
        """The value of a JSON text.

        Args:
            data: the text, in UTF-8.
            halves: of a stream: characters that were cut in two, kept from chunk to chunk.

        Raises:
            JSONError: no JSON, too deep, or not of this kind.
        """
        try:
            return self.fast(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            value = decode_json(data, halves)
        try:
            return msgspec.convert(_tolerant(value, self._kind), self._kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise JSONError(str(error)) from None


def decode_json(data: bytes | str, halves: Halves | None = None) -> Any:
    """The value of a JSON text, without a type.

    Halves of characters (lone surrogates) are joined where both are there, and replaced by
    U+FFFD where one is missing.

    Raises:
        JSONError: no JSON, or too deep.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise JSONError(too_deep(data)) from None
    except UnicodeDecodeError as error:
        raise JSONError(f"it is not in UTF-8: {error}") from None
    except msgspec.DecodeError as error:
        if "\\u" not in (data if isinstance(data, str) else data.decode("latin-1")):
            raise JSONError(str(error)) from None
        problem = str(error)
    try:
        return _joined(json.loads(data), halves, ())
    except RecursionError:
        raise JSONError(too_deep(data)) from None
    except ValueError:  # no JSON at all: msgspec says it better
        raise JSONError(problem) from None


def too_deep(data: bytes | str) -> str:
    """Message for a JSON text that raised RecursionError: its depth."""
    return f"it is nested {_depth(data)} levels deep, which is too much"


def _depth(data: bytes | str) -> int:
    """Depth of nested brackets, without those in strings."""
    deepest = depth = 0
    in_string = escaped = False
    for character in data if isinstance(data, str) else data.decode("latin-1"):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = in_string
        elif character == '"':
            in_string = not in_string
        elif not in_string and character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not in_string and character in "]}":
            depth -= 1
    return deepest


# ---------------------------------------------------------------- halves of characters


def _joined(value: Any, halves: Halves | None, place: tuple[Any, ...]) -> Any:
    """The value with whole characters in all strings."""
    if isinstance(value, str):
        return _whole(value, halves, place)
    if isinstance(value, dict):
        return {name: _joined(item, halves, (*place, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_joined(item, halves, (*place, _index(item, i))) for i, item in enumerate(value)]
    return value


def _index(item: Any, position: int) -> Any:
    """Key of a list's item that is the same in every chunk: its `index`, else its position."""
    return item.get("index", position) if isinstance(item, dict) else position


def _whole(text: str, halves: Halves | None, place: tuple[Any, ...]) -> str:
    if text.isascii():
        return text
    if halves is not None:
        if "\udc00" <= text[0] <= "\udfff":
            text = halves.pop(place, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            halves[place] = text[-1]
            text = text[:-1]
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# ---------------------------------------------------------------- near-misses

# Fields whose null is no answer, though their types have defaults.
_ASKED_FOR = {"choices", "message", "data", "tokens", "embedding", "overrides"}


def _tolerant(value: Any, kind: Any) -> Any:
    """The value with near-misses of a type put right; what does not fit stays as it is."""
    if isinstance(value, dict):
        struct = next(filter(_is_struct, _members(kind)), None)
        if struct is not None:
            return dict(_fields(value, struct))
        return value
    if isinstance(value, list):
        item = next((get_args(k)[0] for k in _members(kind) if get_origin(k) is list), Any)
        return [_tolerant(element, item) for element in value]
    if isinstance(value, float) and int in _members(kind) and float not in _members(kind):
        return int(value) if math.isfinite(value) else value
    return value


def _fields(value: dict[str, Any], struct: Any) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        if name not in value:
            continue
        item = value[name]
        if item is not None:
            if name in ("id", "model", "object") and isinstance(item, int | float):
                item = str(item)
            elif name == "arguments" and not isinstance(item, str):  # JSON text, in the protocol
                item = msgspec.json.encode(item).decode()
            yield name, _tolerant(item, field.type)
        elif field.required or name in _ASKED_FOR or type(None) in _members(field.type):
            yield name, item  # a null that is allowed, or is to be refused


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
