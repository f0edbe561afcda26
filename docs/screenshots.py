"""Makes the pictures of docs/guides/terminal.md: drives the real program in a pseudo-terminal.

`make screenshots` runs it, against a local server with the default model.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tabbyapi import LocalServer

IMAGES = Path(__file__).parent / "images"
COLUMNS, LINES = 92, 24
ANSI = {"brown": "yellow", "brightbrown": "bright_yellow"}


def colour(name: str) -> Color | None:
    """pyte's name of a colour, or its six digits, as rich's."""
    if name == "default":
        return None
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return Color.parse("#" + name)
    name = ANSI.get(name, name)
    return Color.parse(name.replace("bright", "bright_") if "_" not in name else name)


def picture(screen: pyte.Screen, title: str, path: Path) -> None:
    """Writes what a screen shows as SVG."""
    shown = Text()
    last = max((y for y in range(screen.lines) if screen.display[y].strip()), default=0)
    for y in range(last + 1):
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            style = Style.from_color(colour(cell.fg), colour(cell.bg)) + Style(
                bold=cell.bold, italic=cell.italics, underline=cell.underscore, reverse=cell.reverse
            )
            shown.append(cell.data, style)
        shown.append("\n")
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=screen.columns, file=nowhere, force_terminal=True)
        console.print(shown, end="", soft_wrap=True)
        path.write_text(console.export_svg(title=title, unique_id=path.stem), encoding="utf-8")


def session(args: Sequence[str], typed: Sequence[str], environment: dict[str, str]) -> pyte.Screen:
    """The screen after a program was started and things were typed, each once it is quiet."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tabbyapi", *args],
        env=environment,
        encoding="utf-8",
        dimensions=(LINES, COLUMNS),
    )

    # The program asks where the cursor is, as it would ask a terminal.
    screen.write_process_input = child.send

    def read_until_quiet(quiet: float = 2.0, longest: float = 60.0) -> None:
        end = time.monotonic() + longest
        while time.monotonic() < end:
            try:
                stream.feed(child.read_nonblocking(65536, quiet))
            except (pexpect.TIMEOUT, pexpect.EOF):
                return

    try:
        read_until_quiet()
        for text in typed:
            child.send(text + "\r")
            read_until_quiet()
    finally:
        child.close(force=True)
    return screen


def main() -> None:
    """Makes all of them."""
    IMAGES.mkdir(exist_ok=True)
    with LocalServer() as server, tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HOME": home,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "TABBY_API_ENDPOINT": server.url,
            "TABBY_API_KEY": server.api_key or "",
        }
        environment.pop("NO_COLOR", None)
        chat = session(
            ["chat", "--temperature", "0", "--max-tokens", "120"],
            ["Hello! Who are you?", "What is TabbyAPI?", "/tokens"],
            environment,
        )
        picture(chat, "tabbyapi chat", IMAGES / "chat.svg")
        picture(session(["chat"], ["/help"], environment), "/help", IMAGES / "help.svg")
        nobody = environment | {"TABBY_API_ENDPOINT": "http://127.0.0.1:9"}
        picture(
            session(["ask", "Hello"], [], nobody), "tabbyapi ask Hello", IMAGES / "no-server.svg"
        )


if __name__ == "__main__":
    main()
