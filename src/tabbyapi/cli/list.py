"""`tabbyapi list`: the models on this machine."""

from __future__ import annotations

import click

from .output import json_option, show, warn

__all__ = ["list"]


@click.command()
@json_option
def list(as_json: bool) -> None:
    """List the models that were fetched to this machine, with their sizes.

    "tabbyapi models" lists those of a server.

    \b
    tabbyapi list
    tabbyapi list --json | jq -r '.[].path'
    """
    from .._folders import models_folder
    from ..server.model_files.store import stored_models

    models = stored_models()
    rows = [{"name": model.name, "size": model.size, "path": str(model.path)} for model in models]
    lines = (f"{model.size / 1e6:>9,.1f} MB  {model.name}" for model in models)
    show(rows, lines, as_json=as_json)
    if not models and not as_json:
        warn(f"There is no model in {models_folder()}: 'tabbyapi pull' fetches one.")
