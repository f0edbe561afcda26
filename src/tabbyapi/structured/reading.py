"""Read an answer's text as a value: whole, or as far as it has arrived."""

from __future__ import annotations

import re
from typing import Any, TypeVar, overload

import msgspec

from .._protocol.decode import too_deep
from ..errors import OutputError
from .checks import check_of
from .pydantic_types import adapter, decode_custom
from .schema import type_name

__all__ = ["PartialReader", "read"]

T = TypeVar("T")

_FENCE = re.compile(r"\s*```[A-Za-z]*[ \t]*\n")
_OPENING_FENCE = re.compile(r"\s*`{1,3}[A-Za-z]*[ \t]*")  # it arrives in pieces
_BYTE = re.compile(r" ?\(byte (\d+)\)")
_SHOWN = 200


@overload
def read(text: str, tp: type[T]) -> T: ...
@overload
def read(text: str, tp: Any) -> Any: ...
def read(text: str, tp: Any) -> Any:
    """Read a JSON text as a value of type `tp`. A Markdown code fence around it is ignored.

    Raises:
        OutputError: the text is no JSON, or JSON of another shape; `position` is a JSON path
            ("$.steps[2]") or, where it is no JSON, "character 17".
    """
    body = _unfenced(text)
    if not body.strip():
        raise OutputError(_message(type_name(tp), "it is empty", text), text=text)
    model = adapter(tp)
    try:
        if model is not None:
            return model.validate_json(body)
        value = msgspec.json.decode(body, type=tp, dec_hook=decode_custom)
        check = check_of(tp)
        problem = check(msgspec.json.decode(body)) if check is not None else None
        if problem is not None:
            raise _unreadable(tp, *problem, text)
        return value
    except RecursionError:
        raise _unreadable(tp, too_deep(body), "$", text) from None
    except msgspec.ValidationError as error:
        what, _, path = str(error).rpartition(" - at `")
        position = path.removesuffix("`") if what else "$"
        raise _unreadable(tp, what or str(error), position, text) from error
    except msgspec.DecodeError as error:
        raise _unreadable(tp, *_not_json(str(error), body), text) from error
    except ValueError as error:
        if model is None:
            raise
        first = error.errors()[0]  # type: ignore[attr-defined]  # pydantic's ValidationError
        position = "$" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]
        )
        raise _unreadable(tp, first["msg"], position, text) from error


def _not_json(message: str, body: str) -> tuple[str, str]:
    """Describe what is wrong with text that is no JSON, and where, in characters."""
    if "truncated" in message:
        return "the JSON ends too early", f"character {len(body)}"
    found = _BYTE.search(message)
    if found is None:
        return message, "character 0"
    before = body.encode()[: int(found[1])].decode(errors="ignore")
    return _BYTE.sub("", message), f"character {len(before)}"


def _unreadable(tp: Any, what: str, position: str, text: str) -> OutputError:
    return OutputError(
        _message(type_name(tp), f"{what}, at {position}", text), text=text, position=position
    )


def _message(tp_name: str, what: str, text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
    return f"The answer cannot be read as {tp_name}: {what}. The answer was: {shown!r}"


def _unfenced(text: str) -> str:
    opening = _FENCE.match(text)
    if opening is None:
        return text
    # JSON holds no raw line break in a string, so the first fence on its own line closes it.
    return text[opening.end() :].partition("\n```")[0].rstrip().removesuffix("```")


class PartialReader:
    """Reads a JSON text that is still growing: dicts, lists, strings, numbers.

    The text is parsed from its start each time, so it is parsed only when it has grown by 1/256:
    the work for a whole text stays within 256 times its length.
    """

    def __init__(self) -> None:
        self.text: str = ""
        self._parsed_at = 0
        self._value: Any = None

    def feed(self, piece: str) -> Any | None:
        """Add a piece; return the value so far if that changed it, else None.

        Raises:
            OutputError: the text can no longer become JSON.
        """
        self.text += piece
        if len(self.text) - self._parsed_at <= self._parsed_at >> 8:
            return None
        return self._parse()

    def finish(self) -> Any | None:
        """End the text; return the value if `feed` has not returned it yet, else None."""
        return self._parse() if len(self.text) > self._parsed_at else None

    def _parse(self) -> Any | None:
        import jiter

        self._parsed_at = len(self.text)
        body = _unfenced(self.text)
        try:
            value = jiter.from_json(
                body.encode(), partial_mode="trailing-strings", allow_inf_nan=False
            )
        except ValueError as error:
            if _may_become_json(str(error), body):
                return None
            what, _, where = str(error).partition(" at line ")
            line, _, column = where.partition(" column ")
            position = f"line {line}, column {column}"
            raise OutputError(
                _message("JSON", f"{what}, at {position}", self.text),
                text=self.text,
                position=position,
            ) from error
        if value == self._value and type(value) is type(self._value):
            return None
        self._value = value
        return value


def _may_become_json(message: str, body: str) -> bool:
    return message.startswith("EOF") or _OPENING_FENCE.fullmatch(body) is not None
