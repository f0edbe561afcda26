"""`tabbyapi rm`: delete a fetched model."""

from __future__ import annotations

import click

__all__ = ["rm"]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Delete models that were fetched to this machine, by the names that "list" shows.

    \b
    tabbyapi rm SmolLM2-135M-Instruct.Q4_1
    """
    from ..server.model_files.store import remove

    for name in names:
        removed = remove(name)
        click.echo(f"Deleted {removed.name} ({removed.size / 1e6:,.1f} MB).")
