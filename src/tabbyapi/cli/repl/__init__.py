"""The conversation at a terminal: prompt_toolkit reads, rich renders, `screen` draws.

Only `tabbyapi chat` at a terminal imports this package.
"""

from .loop import talk

__all__ = ["talk"]
