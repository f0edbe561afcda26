"""`tabbyapi pull`: fetch a model to this machine."""

from __future__ import annotations

import click

from .output import warn
from .progress import download_progress

__all__ = ["pull"]


@click.command()
@click.argument("spec", required=False)
def pull(spec: str | None) -> None:
    """Fetch a model to this machine, and print where it lies.

    SPEC is hf:OWNER/REPOSITORY[:FILE] of a hub, or the URL of a GGUF file. Without it, the default
    model is fetched, which "chat", "ask" and "serve" use when no other is named.

    \b
    tabbyapi pull
    tabbyapi pull hf:bartowski/SmolLM2-1.7B-Instruct-GGUF
    tabbyapi pull hf:bartowski/SmolLM2-1.7B-Instruct-GGUF:SmolLM2-1.7B-Instruct-Q8_0.gguf
    """
    from ..server.model_files.store import pull as fetch

    with download_progress() as progress:
        path = fetch(spec, tell=warn, progress=progress)
    click.echo(path)
