"""Markdown that is still being written, as lines for the terminal.

The text is cut into top-level blocks. All but the last are final: they are rendered once and
never again, so the cost of a token depends on the block it belongs to, not on the answer.
"""

from __future__ import annotations

import io
import itertools

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown
from rich.text import Text

__all__ = ["complete_blocks", "render"]

_parser = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def complete_blocks(text: str) -> tuple[list[str], str]:
    """The blocks that nothing can change any more, and the rest.

    A block is complete once a line of the next one is complete: half a line may still turn out
    to belong to the list or the paragraph before it.
    """
    end = text.rfind("\n") + 1
    lines = text[:end].splitlines(keepends=True)
    starts = [
        token.map[0]
        for token in _parser.parse(text[:end])
        if token.level == 0 and token.nesting >= 0 and token.map
    ]
    if len(starts) < 2:
        return [], text
    edges = [0, *starts[1:]]
    blocks = ["".join(lines[a:b]) for a, b in itertools.pairwise(edges)]
    return blocks, "".join(lines[edges[-1] :]) + text[end:]


def render(block: str, width: int) -> list[str]:
    """A block as lines with colours, no wider than `width`, without blank lines around it."""
    file = io.StringIO()
    console = Console(
        file=file, width=max(width, 8), force_terminal=True, highlight=False, legacy_windows=False
    )
    console.print(_Markdown(block, code_theme="ansi_dark", hyperlinks=False))
    lines = [line.rstrip() for line in file.getvalue().split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


class _Heading(Heading):
    """A heading at the left, where the eye is; rich centres them and puts boxes around."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        text.stylize("bold underline" if self.tag in ("h1", "h2") else "bold")
        yield Text("")
        yield text


class _Markdown(Markdown):
    elements = {**Markdown.elements, "heading_open": _Heading}  # noqa: RUF012
