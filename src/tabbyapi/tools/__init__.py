"""Tools: Python functions described to a model, and the loop that calls them.

Used by `client.chat.run` and conversations. `describe` makes the description, `loop` decides
without I/O what to send and which calls to make, `run` sends and calls, sync and async; `values`
reads arguments and writes results, `markup` reads calls that a server left in the text.
"""

from .describe import Tool, ToolSet, tool_of
from .loop import PendingCall, ToolLoop, ToolResult, ToolRun

__all__ = ["PendingCall", "Tool", "ToolLoop", "ToolResult", "ToolRun", "ToolSet", "tool_of"]
