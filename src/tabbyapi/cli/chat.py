"""`tabbyapi chat`: a conversation, at a terminal or over a pipe."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .connect import Server, connected, server_options
from .params import generation_options

__all__ = ["chat"]


@click.command()
@server_options
@generation_options
@click.option("--continue", "-c", "resume", is_flag=True, help="Go on with the last conversation.")
@click.option("--session", metavar="NAME", help="Begin, or go on with, a conversation by name.")
def chat(
    server: Server,
    system: str | None,
    params: dict[str, Any],
    resume: bool,
    session: str | None,
) -> None:
    """Hold a conversation with a model.

    At a terminal: Ctrl-C stops the answer and keeps what came, Ctrl-D leaves, /help says the rest.
    In a pipe: each line is a turn, answers go to standard output.

    \b
    tabbyapi chat --system "You are terse." --temperature 0.3
    printf 'Hello\\nWhat is TabbyAPI?\\n' | tabbyapi chat
    """
    from .dialogue import Dialogue

    with connected(server) as client:
        dialogue = Dialogue(client, params, system)
        if _at_terminal():
            from .repl import talk

            talk(dialogue, resume=resume, session=session)
        elif resume or session:
            raise click.UsageError("--continue and --session are for conversations at a terminal")
        else:
            from .pipe import answer_lines

            answer_lines(dialogue)


def _at_terminal() -> bool:
    """Whether both ends are a terminal that can do more than print lines."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
