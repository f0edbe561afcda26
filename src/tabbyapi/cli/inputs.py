"""What a question is made of: words, standard input, files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..types.messages import ChatMessageContent

__all__ = ["attached", "picture_of", "question_of", "schema_of", "text_of"]


def question_of(words: str, files: Sequence[Path]) -> str:
    """The question's text: the words, then each file under its name, then standard input.

    Raises:
        click.UsageError: there is nothing to ask, or a file is not text.
    """
    pieces = [words] if words.strip() else []
    pieces += [attached(path) for path in files]
    if not sys.stdin.isatty():
        given = sys.stdin.read().strip()
        pieces += [given] if given else []
    if not pieces:
        raise click.UsageError("nothing to ask: give a question, or put one on standard input")
    return "\n\n".join(pieces)


def attached(path: Path) -> str:
    """A text file as it goes into a message: under its name, fenced.

    Raises:
        click.UsageError: it is not a text file in UTF-8.
    """
    text = text_of(path)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{path.name}:\n{fence}\n{text}\n{fence}"


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
        click.UsageError: it is not a text file in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except UnicodeDecodeError:
        raise click.UsageError(f"{path}: not a text file in UTF-8") from None


def schema_of(path: Path) -> dict[str, Any]:
    """The JSON schema in a file.

    Raises:
        click.UsageError: it holds no JSON object.
    """
    try:
        schema = json.loads(text_of(path))
    except ValueError as error:
        raise click.UsageError(f"{path}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise click.UsageError(f"{path}: a JSON schema is an object, not {schema!r:.40}")
    return schema
