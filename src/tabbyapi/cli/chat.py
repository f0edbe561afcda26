"""`tabbyapi chat`: a conversation, at a terminal or over a pipe."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .connect import Server, connected, server_options
from .mcp import describe_call, mcp_tools
from .params import generation_options

__all__ = ["chat"]


@click.command()
@server_options
@generation_options
@click.option("--continue", "-c", "resume", is_flag=True, help="Go on with the last conversation.")
@click.option("--session", metavar="NAME", help="Begin, or go on with, a conversation by name.")
@click.option(
    "--mcp",
    "servers",
    multiple=True,
    metavar="NAME|COMMAND|URL",
    help="Give the model the tools of an MCP server: by its name in mcp.json (in the folder of "
    "'tabbyapi config path'), a command or a URL. Repeatable.",
)
@click.option("--allow-tools", is_flag=True, help="Make the model's calls without asking.")
def chat(
    server: Server,
    system: str | None,
    params: dict[str, Any],
    resume: bool,
    session: str | None,
    servers: tuple[str, ...],
    allow_tools: bool,
) -> None:
    """Hold a conversation with a model. It may grow longer than the model's context.

    At a terminal: Ctrl-C stops the answer and keeps what came, Ctrl-D leaves, /help lists the rest.
    In a pipe: each line is a turn, answers go to standard output.

    \b
    tabbyapi chat --system "You are terse." --temperature 0.3
    printf 'Hello\\nWhat is TabbyAPI?\\n' | tabbyapi chat
    """
    with mcp_tools(servers) as tools, connected(server) as client:
        if tools:
            params = {**params, "tools": [*(params.get("tools") or ()), *tools]}
        if _at_terminal():
            from .repl import talk

            talk(client, system, params, resume=resume, name=session, allow_tools=allow_tools)
            return
        if resume or session:
            raise click.UsageError("--continue and --session are for conversations at a terminal")
        if tools and not allow_tools:
            raise click.UsageError("in a pipe calls cannot be approved: add --allow-tools")
        from .inputs import stdin_lines
        from .output import warn, write_answer

        conversation = client.conversation(system, **params)
        for text in stdin_lines():
            if tools:
                reply = conversation.send(text, on_call=lambda call: warn(describe_call(call)))
                write_answer([reply.text])
                continue
            with conversation.stream(text) as stream:
                write_answer(stream.text_deltas())


def _at_terminal() -> bool:
    """True if both ends are a terminal that can do more than print lines."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
