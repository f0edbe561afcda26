"""The tool loop of either client."""

from support.tool_runs import run

__all__ = ["run"]
