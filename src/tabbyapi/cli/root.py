"""The `tabbyapi` command: finds the subcommand, and turns every failure into a sentence."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Any

import click

from .._version import __version__
from .groups import SuggestingGroup

__all__ = ["main"]

_COMMANDS = {
    "chat": "Hold a conversation with a model.",
    "ask": "Ask one question.",
    "batch": "Answer each line of a file.",
    "serve": "Serve a model on this machine.",
    "web": "Chat, and look after a server, in the browser.",
    "pull": "Fetch a model to this machine.",
    "list": "List the models on this machine.",
    "rm": "Delete a fetched model.",
    "models": "List, load, unload and download models.",
    "lora": "List, load and unload LoRA adapters.",
    "templates": "List, switch and unload chat templates.",
    "sampling": "List, switch and unload sampler overrides.",
    "tokens": "Count tokens; take texts apart.",
    "embed": "Print the vectors of texts.",
    "health": "Say whether the server works.",
    "whoami": "Say what the key allows.",
    "config": "Show and change settings, servers and keys.",
    "env": "Print the server's address and keys for a shell.",
    "completion": "Make a shell complete commands and options.",
}
"""In the order of `--help`. The module of the same name holds a function of that name."""

_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_READER_LEFT = 141  # 128 + SIGPIPE


class _Program(SuggestingGroup):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__package__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        from .output import accept_any_text, put

        accept_any_text()
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            put(text.getvalue(), end="", err=True)
            ctx.exit(error.exit_code)
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output has left (`| head`). Nothing may be flushed to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_READER_LEFT)
        except Exception as error:
            if os.environ.get("TABBY_DEBUG"):
                raise
            from .errors import report

            ctx.exit(report(error))


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 the server's error, 2 usage, 3 not reachable, 130 interrupted.",
)
@click.version_option(__version__, prog_name="tabbyapi")
def main() -> None:
    """Talk to TabbyAPI servers, and serve models on this machine.

    \b
    tabbyapi chat                          a conversation
    tabbyapi ask "Why is the sky blue?"    one answer
    git diff | tabbyapi ask "Review this"  arguments and standard input together
    tabbyapi batch in.jsonl out.jsonl      a file of requests, line by line
    tabbyapi serve --model model.gguf      a server on this machine

    A server is found by --url or --server, then by TABBY_API_ENDPOINT, then by the config file,
    then on port 5000 of this machine. Its key is --api-key, then TABBY_API_KEY, then the one that
    "config set" has stored.
    """
