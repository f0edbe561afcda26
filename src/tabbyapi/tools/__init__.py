"""Python functions as tools: their description for the model, and the loop that calls them.

Sits above services/; `client.chat.run` is the front door. `loop` decides, without I/O, what to
ask and which calls to make; `run` makes the requests and the calls, in two small twins.
"""

from .describe import Tool, ToolSet, tool_of
from .loop import PendingCall, ToolLoop, ToolResult, ToolRun

__all__ = ["PendingCall", "Tool", "ToolLoop", "ToolResult", "ToolRun", "ToolSet", "tool_of"]
