"""`tabbyapi whoami`: which server is meant, and what its key allows."""

from __future__ import annotations

import click

from .connect import Server, server_options
from .output import json_option, show

__all__ = ["whoami"]


@click.command()
@server_options
@json_option
def whoami(server: Server, as_json: bool) -> None:
    """Say which server is meant, why, and what the key allows there: "api" or "admin".

    \b
    tabbyapi whoami
    tabbyapi whoami --json | jq -r .permission
    """
    with server.client() as client:
        facts = {
            "server": client.base_url,
            "address": server.origin,
            "permission": client.auth.permission(),
        }
    lines = (f"{name:<11} {value}" for name, value in facts.items())
    show(facts, lines, as_json=as_json)
