"""What a question is made of: words, standard input, files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ValidationError
from .files import LARGEST, decode_text, read_text

if TYPE_CHECKING:
    from ..types.messages import ChatMessageContent

__all__ = [
    "attached",
    "json_of",
    "picture_of",
    "question_of",
    "schema_of",
    "stdin_lines",
    "stdin_text",
    "text_of",
    "well_formed",
]


def question_of(words: str, files: Sequence[Path]) -> str:
    """The question's text: the words, then each file under its name, then standard input.

    Raises:
        click.UsageError: there is nothing to ask.
        ValidationError: a file is not text, or too large.
    """
    pieces = [well_formed(words)] if words.strip() else []
    pieces += [attached(path) for path in files]
    if not sys.stdin.isatty():
        given = stdin_text().strip()
        pieces += [given] if given else []
    if not pieces:
        raise click.UsageError("nothing to ask: give a question, or put one on standard input")
    return "\n\n".join(pieces)


def attached(path: Path) -> str:
    """A text file as it goes into a message: under its name, fenced.

    Raises:
        ValidationError: it is not text, or too large.
    """
    text = text_of(path)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{well_formed(path.name)}:\n{fence}\n{text}\n{fence}"


def picture_of(where: str) -> ChatMessageContent:
    """A picture as it goes into a message: a file, or an address that the server looks up.

    Raises:
        click.UsageError: there is no such file.
        ValidationError: it is no picture.
    """
    from .. import image

    if "://" in where or where.startswith("data:"):
        return image(where)
    path = Path(where).expanduser()
    if not path.is_file():
        raise click.UsageError(f"--image: there is no file {path}")
    return image(path)


def text_of(path: Path) -> str:
    """The text of a file, without blank lines around it.

    Raises:
        ValidationError: it is not text, or too large.
        OSError: it cannot be read.
    """
    return read_text(path).strip("\n")


def json_of(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        ValidationError: it is not JSON, or nested too deeply.
        OSError: it cannot be read.
    """
    try:
        return json.loads(text_of(path))
    except ValidationError:
        raise
    except RecursionError:
        raise ValidationError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValidationError(f"{path}: not JSON: {error}") from None


def schema_of(path: Path) -> dict[str, Any]:
    """The JSON schema in a file.

    Raises:
        ValidationError: it holds no JSON object.
    """
    schema = json_of(path)
    if not isinstance(schema, dict):
        raise ValidationError(f"{path}: a JSON schema is an object, not {schema!r:.40}")
    return schema


def stdin_text() -> str:
    """All of standard input. Bytes that are no text become replacement characters.

    Raises:
        ValidationError: it is too large.
    """
    return _lenient(sys.stdin.buffer.read(LARGEST + 1))


def stdin_lines() -> Iterator[str]:
    """The lines of standard input as they come, without those that are blank.

    Raises:
        ValidationError: a line is too large.
    """
    while line := sys.stdin.buffer.readline(LARGEST + 1):
        text = _lenient(line).strip()
        if text:
            yield text


def well_formed(text: str) -> str:
    """The text with replacement characters for lone surrogates, which no request can carry.

    They stand for bytes of arguments, file names and terminals that are not in its encoding.
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _lenient(data: bytes) -> str:
    try:
        return decode_text(data, "standard input")
    except ValidationError:
        if len(data) > LARGEST:
            raise
        return data.decode(sys.stdin.encoding or "utf-8", "replace").replace("\r\n", "\n")
