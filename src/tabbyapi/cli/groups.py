"""Commands that have commands of their own."""

from __future__ import annotations

from difflib import get_close_matches

import click

__all__ = ["ListingGroup", "SuggestingGroup"]


class SuggestingGroup(click.Group):
    """Suggests a command for a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name in known or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = get_close_matches(name, known, n=1)
        advice = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
        raise click.UsageError(f"No such command {name!r}. {advice}", ctx)


class ListingGroup(SuggestingGroup):
    """Lists what there is when no command is given."""

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
