"""Calls of tools: pending ones, and their results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .._protocol import observing
from ..types import ToolCall
from .describe import Tool
from .values import Content, content_of, valid_text

__all__ = ["PendingCall", "ToolResult"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call.

    Attributes:
        call: the call as the model wrote it.
        content: the text or parts that the model is told.
        value: what the function returned; None if it did not.
        error: what it raised, or why it was not called; None if it returned or was declined.
        seconds: how long the call took.
    """

    call: ToolCall
    content: Content
    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that a model asks for, with valid arguments.

    Attributes:
        call: the call as the model wrote it.
        tool: the tool it names.
        arguments: by name, read as the types of the tool's parameters.
    """

    call: ToolCall
    tool: Tool
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self.tool.name

    def invoke(self) -> Any:
        """Call the function. Returns what it returns, which may be an awaitable."""
        if observing.observer is not None:
            return observing.observer.invoke(self, self._call_function)
        return self._call_function()

    def _call_function(self) -> Any:
        by_name = dict(self.arguments)
        positional = []
        for name, parameter in self.tool.parameters.items():
            if not parameter.positional or name not in by_name:
                break
            positional.append(by_name.pop(name))
        return self.tool.function(*positional, **by_name)

    def returned(self, value: Any, since: float) -> ToolResult:
        """The result of a call that returned; `since` is `time.monotonic()` at its start."""
        return ToolResult(self.call, content_of(value), value, None, time.monotonic() - since)

    def failed(self, error: BaseException, since: float) -> ToolResult:
        """The result of a call that raised, as text for the model."""
        text = valid_text(f"Error: {type(error).__name__}: {error}".rstrip(": "))
        return ToolResult(self.call, text, None, error, time.monotonic() - since)

    def declined(self) -> ToolResult:
        """The result of a call that was not approved."""
        return ToolResult(self.call, "Error: the user did not allow this call.")
