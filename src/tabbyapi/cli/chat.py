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
    """Hold a conversation with a model. It may grow longer than the model's context.

    At a terminal: Ctrl-C stops the answer and keeps what came, Ctrl-D leaves, /help lists the rest.
    In a pipe: each line is a turn, answers go to standard output.

    \b
    tabbyapi chat --system "You are terse." --temperature 0.3
    printf 'Hello\\nWhat is TabbyAPI?\\n' | tabbyapi chat
    """
    with connected(server) as client:
        if _at_terminal():
            from .repl import talk

            talk(client, system, params, resume=resume, name=session)
            return
        if resume or session:
            raise click.UsageError("--continue and --session are for conversations at a terminal")
        from .inputs import stdin_lines
        from .output import write_answer

        conversation = client.conversation(system, **params)
        for text in stdin_lines():
            with conversation.stream(text) as stream:
                write_answer(stream.text_deltas())


def _at_terminal() -> bool:
    """True if both ends are a terminal that can do more than print lines."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
