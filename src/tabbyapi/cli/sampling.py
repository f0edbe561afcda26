"""`tabbyapi sampling`: what the server puts in place of the samplers' defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .connect import Server, server_options
from .groups import ListingGroup
from .output import json_option, show
from .params import parameter_option

if TYPE_CHECKING:
    from ..types.services import SamplerOverrides

__all__ = ["sampling"]


@click.group(cls=ListingGroup)
def sampling() -> None:
    """List, switch and unload sampler overrides. Without a command: list.

    \b
    tabbyapi sampling
    tabbyapi sampling switch calm
    tabbyapi sampling switch --param temperature=0.3 --force
    """


@sampling.command("list")
@server_options
@json_option
def list_(server: Server, as_json: bool) -> None:
    """List the overrides in force and, with the admin key, the presets on the server.

    \b
    tabbyapi sampling list
    tabbyapi sampling list --json | jq .overrides
    """
    with server.client() as client:
        overrides = client.sampling.list_overrides()
    show(overrides, _described(overrides), as_json=as_json)


@sampling.command()
@click.argument("preset", required=False)
@server_options
@json_option
@parameter_option("GenerationParams", "temperature=0.3")
@click.option("--force", is_flag=True, help="Replace what requests ask for, too.")
@click.option("--additive", is_flag=True, help="Join lists instead of replacing them.")
def switch(
    preset: str | None,
    server: Server,
    as_json: bool,
    more: tuple[tuple[str, Any], ...],
    force: bool,
    additive: bool,
) -> None:
    """Put a PRESET of the server, or overrides of your own, in place of all that are in force.

    \b
    tabbyapi sampling switch calm
    tabbyapi sampling switch --param temperature=0.3 --param top_k=40 --force
    """
    if bool(preset) == bool(more):
        raise click.UsageError("give a PRESET, or overrides with --param")
    if preset and (force or additive):
        raise click.UsageError("--force and --additive are for --param; a preset has its own")
    own = {name: {"override": value, "force": force, "additive": additive} for name, value in more}
    with server.client() as client:
        client.sampling.switch_override(preset, overrides=own or None)
    show(None, ["The overrides are in force."], as_json=as_json)


@sampling.command()
@server_options
@json_option
def unload(server: Server, as_json: bool) -> None:
    """Take all overrides out of force.

    \b
    tabbyapi sampling unload
    """
    with server.client() as client:
        client.sampling.unload_override()
    show(None, ["No overrides are in force."], as_json=as_json)


def _described(overrides: SamplerOverrides) -> Iterator[str]:
    if overrides.overrides:
        yield f"in force: {overrides.selected_preset or 'overrides of your own'}"
        for name, item in overrides.overrides.items():
            value = json.dumps(item.override, ensure_ascii=False)
            yield f"  {name} = {value}" + ", forced" * item.force + ", added" * item.additive
    else:
        yield "in force: nothing"
    if overrides.presets:
        yield "presets: " + ", ".join(overrides.presets)
