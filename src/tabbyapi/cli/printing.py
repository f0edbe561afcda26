"""What the commands that ask a server one thing print: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

__all__ = ["json_option", "show"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Prints a value as JSON, or the lines that stand for it."""
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    for line in lines:
        click.echo(line)
