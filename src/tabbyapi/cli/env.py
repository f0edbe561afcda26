"""`tabbyapi env`: the environment for other programs."""

from __future__ import annotations

import shlex

import click

from .connect import KEY_VARIABLES, Server, server_options
from .output import put, warn

__all__ = ["env"]


@click.command()
@server_options
@click.option("--show-keys", is_flag=True, help="Print the keys as they are.")
def env(server: Server, show_keys: bool) -> None:
    """Print the server's address and keys as lines for a shell. Keys are masked.

    \b
    tabbyapi env -s gpu
    eval "$(tabbyapi env -s gpu --show-keys)"
    """
    with server.client() as client:
        values = {"TABBY_API_ENDPOINT": client.base_url}
    keys = {KEY_VARIABLES[name]: key for name, key in server.keys().items()}
    for name, key in keys.items():
        if key:
            values[name] = key if show_keys else "********"
    for name, value in values.items():
        put(f"export {name}={shlex.quote(value)}")
    if any(keys.values()) and not show_keys:
        warn("The keys are masked; --show-keys prints them.")
