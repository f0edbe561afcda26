"""`tabbyapi templates`: chat templates."""

from __future__ import annotations

import click

from .connect import Server, server_options
from .groups import ListingGroup
from .output import json_option, show

__all__ = ["templates"]


@click.group(cls=ListingGroup)
def templates() -> None:
    """List, switch and unload chat templates. Without a command: list.

    \b
    tabbyapi templates
    tabbyapi templates switch chatml
    """


@templates.command("list")
@server_options
@json_option
def list_(server: Server, as_json: bool) -> None:
    """List the templates: all on the server with the admin key, otherwise the one in use.

    \b
    tabbyapi templates list --json
    """
    with server.client() as client:
        names = client.templates.list()
    show(names, names, as_json=as_json)


@templates.command()
@click.argument("name")
@server_options
@json_option
def switch(name: str, server: Server, as_json: bool) -> None:
    """Use another template from now on, for everyone.

    \b
    tabbyapi templates switch chatml
    """
    with server.client() as client:
        client.templates.switch(name)
    show(None, [f"The template is {name}."], as_json=as_json)


@templates.command()
@server_options
@json_option
def unload(server: Server, as_json: bool) -> None:
    """Use no template: chat is refused until another one is switched to.

    \b
    tabbyapi templates unload
    """
    with server.client() as client:
        client.templates.unload()
    show(None, ["No template is in use."], as_json=as_json)
