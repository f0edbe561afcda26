"""`tabbyapi embed`: vectors of texts."""

from __future__ import annotations

import json
import sys

import click

from .connect import Server, server_options
from .inputs import stdin_text, well_formed
from .output import json_option, show

__all__ = ["embed"]


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@server_options
@json_option
def embed(texts: tuple[str, ...], server: Server, as_json: bool) -> None:
    """Print the vector of each TEXT, or of each line of standard input: one JSON list a line.

    With --json, the server's whole answer. The server must have an embedding model loaded:
    tabbyapi models load NAME --embedding

    \b
    tabbyapi embed "first text" "second text"
    tabbyapi embed < titles.txt > vectors.jsonl
    """
    wanted = [well_formed(text) for text in texts] or _lines()
    with server.client() as client:
        answer = client.embeddings.create(wanted, encoding_format="base64")
    show(answer, (json.dumps(vector) for vector in answer.vectors), as_json=as_json)


def _lines() -> list[str]:
    if sys.stdin.isatty():
        raise click.UsageError("no text: give it as arguments, or put it on standard input")
    lines = [line for line in stdin_text().split("\n") if line.strip()]
    if not lines:
        raise click.UsageError("no text on standard input")
    return lines
