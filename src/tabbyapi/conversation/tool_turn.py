"""The rounds of a tool loop inside one turn: each is made to fit, none is history yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..types.chat import ChatCompletionResponse
from ..types.messages import MessageLike
from .core import Core, Pending
from .entries import entry_of, reply_entry
from .fitting import Plan

__all__ = ["Rounds", "runs_tools"]


def runs_tools(params: Mapping[str, Any]) -> bool:
    """Whether there are functions among the tools, so that calls are made here."""
    from ..tools.describe import Tool

    return any(callable(item) or isinstance(item, Tool) for item in params.get("tools") or ())


class Rounds:
    """Stands between the tool loop and the server: `plan` for each request of the loop.

    Attributes:
        pending: the turn so far, without the last response.
        response: the last response.
    """

    def __init__(self, core: Core, pending: Pending) -> None:
        self._core = core
        self._given = len(pending.entries)
        self.pending = pending
        self.response: ChatCompletionResponse | None = None

    @property
    def messages(self) -> list[MessageLike]:
        """What the loop begins with."""
        return [entry.message for entry in self.pending.entries]

    def plan(
        self, messages: Sequence[MessageLike], params: Mapping[str, Any]
    ) -> Plan[ChatCompletionResponse]:
        """The request for `messages`: those given, and what the loop has added since."""
        from .._services.chat import chat_call

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
