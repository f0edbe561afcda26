"""`tabbyapi tokens`: counting tokens, taking texts apart, putting them together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .connect import Server, server_options
from .inputs import json_of, stdin_text, well_formed
from .output import json_option, show

__all__ = ["tokens"]


@click.command()
@click.argument("words", nargs=-1, metavar="[TEXT]...")
@server_options
@json_option
@click.option("--ids", is_flag=True, help="Print the token ids, not how many there are.")
@click.option("--decode", is_flag=True, help="TEXT is token ids: print their text.")
@click.option(
    "--messages",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take a conversation (a JSON list of messages), as the chat template writes it.",
)
@click.option("--no-bos", is_flag=True, help="Without the token that begins a text.")
def tokens(
    words: tuple[str, ...],
    server: Server,
    as_json: bool,
    ids: bool,
    decode: bool,
    messages: Path | None,
    no_bos: bool,
) -> None:
    """Count the loaded model's tokens in TEXT, or in standard input.

    \b
    tabbyapi tokens "Hello there"
    tabbyapi tokens < README.md
    tabbyapi tokens --ids "Hello there" | tabbyapi tokens --decode
    """
    with server.client() as client:
        if decode:
            text = client.tokens.decode(_ids(_text(words)))
            show({"text": text}, [text], as_json=as_json)
            return
        given: Any = _text(words) if messages is None else _messages(messages)
        found = client.tokens.encode(given, add_bos_token=False if no_bos else None)
    lines = [" ".join(map(str, found))] if ids else [str(len(found))]
    show({"tokens": found, "length": len(found)}, lines, as_json=as_json)


def _text(words: tuple[str, ...]) -> str:
    if words:
        return well_formed(" ".join(words))
    if sys.stdin.isatty():
        raise click.UsageError("no text: give it as arguments, or put it on standard input")
    return stdin_text()


def _ids(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise click.UsageError(f"--decode takes token ids, which are numbers: {error}") from None


def _messages(path: Path) -> list[Any]:
    messages = json_of(path)
    if not isinstance(messages, list):
        raise click.UsageError(f"{path}: a conversation is a list of messages")
    return messages
