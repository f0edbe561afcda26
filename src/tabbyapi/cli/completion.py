"""`tabbyapi completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that makes a shell complete commands and options.

    \b
    echo 'eval "$(tabbyapi completion bash)"' >> ~/.bashrc
    echo 'eval "$(tabbyapi completion zsh)"' >> ~/.zshrc
    tabbyapi completion fish > ~/.config/fish/completions/tabbyapi.fish
    """
    script = get_completion_class(shell)
    assert script is not None
    program = click.get_current_context().find_root().command
    click.echo(script(program, {}, "tabbyapi", "_TABBYAPI_COMPLETE").source())
