"""Commands that have commands of their own, and list what there is when none is given."""

from __future__ import annotations

import click

__all__ = ["ListingGroup"]


class ListingGroup(click.Group):
    """`tabbyapi NAME [OPTIONS]` is `tabbyapi NAME list [OPTIONS]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else "-"
        completing = ctx.resilient_parsing  # then an empty word may become any of the commands
        if (
            not completing
            and first.startswith("-")
            and first not in self.get_help_option_names(ctx)
        ):
            args = ["list", *args]
        return super().parse_args(ctx, args)
