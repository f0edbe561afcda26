"""A turn with tool calls: each request of the tool loop is made to fit the context.

Nothing of the turn is in the history before the model's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._services.chat import chat_call
from ..types.chat import ChatCompletionResponse
from ..types.messages import MessageLike
from .core import Core, Pending
from .entries import entry_of, reply_entry
from .fitting import Plan

__all__ = ["ToolTurn", "runs_tools"]


def runs_tools(params: Mapping[str, Any]) -> bool:
    """True if a tool among the parameters can be called here."""
    from ..tools.describe import is_callable_tool

    return any(is_callable_tool(item) for item in params.get("tools") or ())


class ToolTurn:
    """Adapts the tool loop's requests to a conversation.

    Attributes:
        pending: the turn so far, without the last response.
        response: the last response.
    """

    def __init__(self, core: Core, pending: Pending) -> None:
        self._core = core
        self.pending = pending
        self.response: ChatCompletionResponse | None = None

    @property
    def messages(self) -> list[MessageLike]:
        """The conversation that the loop begins with."""
        return [entry.message for entry in self.pending.entries]

    def plan(
        self, messages: Sequence[MessageLike], params: Mapping[str, Any]
    ) -> Plan[ChatCompletionResponse]:
        """Ask for an answer to `messages`: the first ones, and those the loop has added since."""
        entries = self.pending.entries
        last = self.response
        for i in range(len(entries), len(messages)):
            message = messages[i]
            if last is not None and message is last.message:
                entries.append(reply_entry(last))
            else:
                entries.append(entry_of(message, f"messages[{i}]"))
        response: ChatCompletionResponse
        response = yield from self._core._ask(self.pending, params, chat_call)
        self._core._measure(self.pending, response)
        self.response = response
        return response
