"""Convert between a model's JSON and Python: arguments of a call, and its result as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set, ValuesView
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec

from .._protocol.decode import too_deep
from ..errors import OutputError
from ..structured.pydantic_types import adapter, decode_custom
from ..types import ChatMessageContent
from .describe import Parameter, Tool

__all__ = ["Content", "arguments_of", "content_of", "joined", "joined_items", "valid_text"]

Content: TypeAlias = str | list[ChatMessageContent | str]


def arguments_of(tool: Tool, text: str) -> dict[str, Any]:
    """Read the arguments of a call by name, each as its parameter's type.

    Models and servers write JSON loosely, so "2" passes for 2, any JSON for a string parameter
    (servers that parse XML-like calls turn a string that looks like JSON into that), and null
    for a parameter that may be left out.

    Raises:
        OutputError: the text is no JSON object, or does not fit; the message is for the model.
    """
    try:
        given = msgspec.json.decode(text.strip() or "{}", type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise OutputError(
            f"the arguments must be a JSON object: {error}", text=text, position="$"
        ) from error
    except RecursionError:
        raise OutputError(
            f"the arguments must be a JSON object: {too_deep(text)}", text=text, position="$"
        ) from None
    values: dict[str, Any] = {}
    for name, raw in given.items():
        parameter = tool.parameters.get(name, tool.more)
        if parameter is None:
            names = ", ".join(tool.parameters) or "none"
            raise OutputError(
                f"there is no parameter {name!r}; the parameters are: {names}",
                text=text,
                position=f"$.{name}",
            )
        written = bytes(raw)
        if written == b"null" and not parameter.required and not _takes_none(parameter.type):
            continue
        try:
            values[name] = _value(written, parameter)
            check = parameter.check
            problem = check(msgspec.json.decode(written)) if check is not None else None
        except ValueError as error:  # msgspec's errors and pydantic's
            what, _, where = str(error).partition(" - at `$")
            problem = what, f"${where.removesuffix('`')}"
        except RecursionError:
            problem = too_deep(written), "$"
        if problem is not None:
            what, where = problem
            position = f"$.{name}{where.removeprefix('$')}"
            raise OutputError(f"{what}, at {position}", text=text, position=position)
    required = [name for name, parameter in tool.parameters.items() if parameter.required]
    if missing := [name for name in required if name not in values]:
        raise OutputError(f"missing: {', '.join(missing)}", text=text, position="$")
    for name, parameter in tool.parameters.items():
        if parameter.default is not None and name not in values:
            values[name] = parameter.default()
    return values


def _value(written: bytes, parameter: Parameter) -> Any:
    tp = parameter.type
    if (model := adapter(tp)) is not None:
        return model.validate_json(written)
    if _is_text(tp) and not written.startswith((b'"', b"null")):
        return msgspec.convert(written.decode(), tp)
    return msgspec.json.decode(written, type=tp, strict=False, dec_hook=decode_custom)


def _is_text(tp: Any) -> bool:
    """True if a type is str, or str and None."""
    return [member for member in _members(tp) if member is not NoneType] == [str]


def _takes_none(tp: Any) -> bool:
    return any(member in (NoneType, None, Any) for member in _members(tp))


def _members(tp: Any) -> list[Any]:
    """The types of a union, or the type alone, without `Annotated`."""
    if get_origin(tp) is Annotated:
        return _members(get_args(tp)[0])
    if get_origin(tp) in (Union, UnionType):
        return [member for each in get_args(tp) for member in _members(each)]
    return [tp]


def content_of(value: Any) -> Content:
    """A tool's result as the content of a message: text, parts, or anything else as JSON.

    Half a character (a lone surrogate, as in file names that are not UTF-8) becomes "?".
    """
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, ChatMessageContent):
        return [_valid_part(value)]
    if isinstance(value, list | tuple) and any(isinstance(v, ChatMessageContent) for v in value):
        return [
            _valid_part(v) if isinstance(v, ChatMessageContent) else valid_text(str(v))
            for v in value
        ]
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except (TypeError, ValueError, RecursionError):
        pass  # a key, a depth or a text that JSON does not have
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
        return valid_text(json.dumps(plain, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return valid_text(str(value))


def valid_text(text: str) -> str:
    """The text with "?" for each lone surrogate."""
    return text.encode(errors="replace").decode()


def _valid_part(part: ChatMessageContent) -> ChatMessageContent:
    if part.text is None or part.text.isascii():
        return part
    return msgspec.structs.replace(part, text=valid_text(part.text))


def joined(value: Any) -> Any:
    """Collect an iterator: text if it yields only text, else a list. Others as they are."""
    if not isinstance(value, Iterator):
        return value
    return joined_items(list(value))


def joined_items(items: list[Any]) -> Any:
    """Items that a tool has yielded, as one result."""
    if items and all(isinstance(item, str) for item in items):
        return "".join(items)
    return items


def _plain(value: Any) -> Any:
    if hasattr(value, "__pydantic_serializer__"):
        return value.__pydantic_serializer__.to_python(value, mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set | ValuesView) and not isinstance(value, tuple):
        return list(value)
    return str(value)
