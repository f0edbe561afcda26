"""`tabbyapi lora`: adapters of the loaded model."""

from __future__ import annotations

from typing import Any

import click

from .connect import Server, server_options
from .groups import ListingGroup
from .output import json_option, show

__all__ = ["lora"]


@click.group(cls=ListingGroup)
def lora() -> None:
    """List, load and unload LoRA adapters. Without a command: list.

    TabbyAPI's current engine has no support for LoRA and loads none.

    \b
    tabbyapi lora
    tabbyapi lora load pirate=0.8
    """


@lora.command("list")
@server_options
@json_option
@click.option("--active", is_flag=True, help="Only those in use, with their scaling.")
def list_(server: Server, as_json: bool, active: bool) -> None:
    """List the adapters: all of them with the admin key, otherwise those in use.

    \b
    tabbyapi lora list
    tabbyapi lora list --active --json
    """
    with server.client() as client:
        cards = client.lora.active() if active else client.lora.list()
    lines = (c.id if c.scaling is None else f"{c.id}={c.scaling:g}" for c in cards)
    show(cards, lines, as_json=as_json)


class _Adapter(click.ParamType):  # type: ignore[type-arg]
    name = "NAME[=SCALING]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, sign, scaling = value.rpartition("=")
        try:
            return (name, float(scaling)) if sign else (value, 1.0)
        except ValueError:
            self.fail(f"{scaling!r} is no scaling: a number, 1 as trained", param, ctx)


@lora.command()
@click.argument("adapters", nargs=-1, required=True, type=_Adapter())
@server_options
@json_option
def load(adapters: tuple[tuple[str, float], ...], server: Server, as_json: bool) -> None:
    """Put adapters into use, in place of those that are. SCALING is 1 unless given.

    \b
    tabbyapi lora load pirate
    tabbyapi lora load pirate=0.8 polite=0.3
    """
    with server.client() as client:
        answer = client.lora.load([{"name": n, "scaling": s} for n, s in adapters])
    show(answer, (f"{name} is in use." for name in answer.success), as_json=as_json)


@lora.command()
@server_options
@json_option
def unload(server: Server, as_json: bool) -> None:
    """Take all adapters out of use.

    \b
    tabbyapi lora unload
    """
    with server.client() as client:
        client.lora.unload()
    show(None, ["No adapter is in use."], as_json=as_json)
