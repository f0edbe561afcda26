"""`tabbyapi health`: whether the server works."""

from __future__ import annotations

import click

from .connect import Server, server_options
from .errors import SERVER_ERROR
from .output import json_option, show

__all__ = ["health"]


@click.command()
@server_options
@json_option
def health(server: Server, as_json: bool) -> None:
    """Say whether the server is healthy, and what went wrong if it is not. Needs no key.

    TabbyAPI stays unhealthy after one failed generation until it is restarted.

    \b
    tabbyapi health
    until tabbyapi health > /dev/null 2>&1; do sleep 1; done

    Exit status: 0 healthy, 1 unhealthy, 3 not reachable.
    """
    with server.client() as client:
        status = client.health.check()
    issues = (f"{issue.time}  {issue.description}" for issue in status.issues)
    show(status, [status.status, *issues], as_json=as_json)
    if not status.healthy:
        click.get_current_context().exit(SERVER_ERROR)
