"""The terminal: `tabbyapi chat`, `ask`, `serve` and the rest.

One module per command. A command module imports click and its neighbours here; whatever is
heavier (the server, the terminal UI) it imports when it runs, so that `--help` answers at once.
"""

from .root import main

__all__ = ["main"]
