"""The tool loop without I/O: what to send next, which calls to make, when it is over.

    loop = ToolLoop(messages, tools, params)
    while not loop.done:
        response = ask(loop.messages, loop.params)           # I/O
        calls = loop.receive(response)
        loop.answer([make(call) for call in calls])          # I/O; ready results pass as they are
    loop.result

States: asking, or answering the calls of one response (between `receive` and `answer`), until
`done`. `_new[:_complete]` are the messages of rounds that were answered whole: with them a
conversation can go on, whatever ends the loop. A call that a server sends broken or not at all
has a defined outcome, see `receive`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import OutputError, TabbyError, ToolLoopError, ValidationError
from ..types import ChatCompletionRequest, ChatCompletionResponse, ChatMessage, ToolCall, tool
from . import markup
from .calls import PendingCall, ToolResult
from .describe import Tool, ToolSet, expand, tool_of
from .values import arguments_of

__all__ = ["PendingCall", "ToolLoop", "ToolResult", "ToolRun"]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """The outcome of a tool loop.

    Attributes:
        response: the last response, the model's answer.
        messages: all new messages, ready to be appended to the conversation: the model's calls,
            their results, and its answer.
        results: all calls that were made or refused, in order.
        responses: every response, the last one included.
    """

    response: ChatCompletionResponse
    messages: list[ChatMessage]
    results: list[ToolResult]
    responses: list[ChatCompletionResponse]

    @property
    def text(self) -> str:
        """Text of the answer."""
        return self.response.text


class ToolLoop:
    """A tool loop: the conversation so far, and what to do next.

    Args:
        messages: the conversation, or a prepared request.
        tools: functions, `Tool`s, and dicts with a handler; see `tool_of`.
        params: parameters of every request. A `tool_choice` that forces a call holds for the
            first one; afterwards the model decides, or it could never answer.
        max_rounds: rounds of calls that are made before the model must answer.
        tools_from_text: read calls out of the text of answers, too.

    Attributes:
        done: the model has answered.

    Raises:
        ValidationError: no tools, two of one name, one that is no function, or `n` above 1.
    """

    def __init__(
        self,
        messages: ChatCompletionRequest | Sequence[Any],
        tools: Sequence[Any],
        params: Mapping[str, Any] | None = None,
        *,
        max_rounds: int = 8,
        tools_from_text: bool = False,
    ) -> None:
        self.done: bool = False
        self._given = messages
        self._tools = _by_name(tools)
        self._specs = [each.spec for each in self._tools.values()]
        self._params = dict(params or {})
        self._max_rounds = max_rounds
        self._from_text = tools_from_text
        self._rounds = 0
        self._unreadable = False  # the last answer held a call that could not be read
        self._new: list[ChatMessage] = []
        self._complete = 0  # how many of them are of rounds that were answered
        self._results: list[ToolResult] = []
        self._responses: list[ChatCompletionResponse] = []
        if (self._params.get("n") or 1) != 1:
            raise ValidationError("n must be 1: the loop follows one answer", field="n")
        if max_rounds < 1:
            raise ValidationError(
                f"max_rounds must be 1 or more, not {max_rounds}", field="max_rounds"
            )

    @property
    def messages(self) -> ChatCompletionRequest | list[Any]:
        """The conversation to send next."""
        if isinstance(self._given, ChatCompletionRequest):
            messages = [*self._given.messages, *self._new]
            return msgspec.structs.replace(self._given, messages=messages)
        return [*self._given, *self._new]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters to send next."""
        params = {**self._params, "tools": self._specs}
        choice = params.get("tool_choice")
        if choice is None and isinstance(self._given, ChatCompletionRequest):
            choice = self._given.tool_choice
        if self._rounds and choice not in (None, "none"):
            params["tool_choice"] = "auto"
        return params

    @property
    def parallel(self) -> bool:
        """True if the calls of a round may be made at the same time."""
        return self._params.get("parallel_tool_calls") is not False

    @property
    def result(self) -> ToolRun:
        """The outcome, once `done`."""
        return ToolRun(self._responses[-1], self._new, self._results, self._responses)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Attach the messages so far to an error that ends the loop."""
        try:
            yield
        except TabbyError as error:
            error.messages = error.messages or self._new[: self._complete]
            raise

    def receive(self, response: ChatCompletionResponse) -> list[PendingCall | ToolResult]:
        """Take in a response; return the calls it asks for, [] if none.

        A call of an unknown tool or with arguments that do not fit is answered here already: its
        result tells the model what is wrong. A response that is said to hold calls and holds none
        (the server could not read the model's markup) is asked for once more.

        Raises:
            ToolLoopError: a call was cut off by the token limit, could not be read twice in a
                row, was left in the text as markup, or was asked for after the last round.
        """
        self._responses.append(response)
        choice = response.choices[0] if response.choices else None
        calls = response.tool_calls
        opener = None if calls else markup.opener_of(response.text, self._tools)
        if choice is None or not (calls or opener or choice.finish_reason == "tool_calls"):
            self._new.append(response.message)
            self.done = True
            return []
        if choice.eos_reason == "max_new_tokens" or choice.finish_reason == "length":
            raise self._error("the token limit cut off a tool call: raise max_tokens")
        if opener is not None:
            calls = self._read_markup(response, opener)
        if not calls:
            if self._unreadable:
                raise self._error(
                    "the model's tool call could not be read, twice in a row: see that the "
                    "server's tool format is that of the model"
                )
            self._unreadable = True
            return []
        if self._rounds == self._max_rounds:
            raise self._error(
                f"the model still calls tools after {self._max_rounds} rounds of calls: raise "
                "max_rounds, or tell it when to stop"
            )
        self._unreadable = False
        self._rounds += 1
        self._new.append(_with_ids(response.message))
        return [self._prepared(call) for call in calls]

    def _read_markup(self, response: ChatCompletionResponse, opener: str) -> list[ToolCall]:
        """Take calls that the server left in the text out of it."""
        calls = markup.calls_of(response.text, self._tools) if self._from_text else []
        if not calls:
            raise self._error(
                f"the model called a tool, but the server left the call in the text ({opener}): "
                "its model needs a tool format (tool_format in TabbyAPI's model settings). Or "
                "give tools_from_text=True, to have such calls read here"
            )
        message = response.message
        message.content = response.text.partition(opener)[0].strip() or None
        message.tool_calls = calls
        return calls

    def answer(self, results: Sequence[ToolResult]) -> None:
        """Take in the results of the calls that `receive` returned, in its order."""
        self._results.extend(results)
        for result in results:
            self._new.append(tool(result.content, tool_call_id=result.call.id))
        self._complete = len(self._new)

    def _prepared(self, call: ToolCall) -> PendingCall | ToolResult:
        name = call.function.name
        known = self._tools.get(name)
        if known is None:
            problem = OutputError(
                f"there is no tool {name!r}; the tools are: {', '.join(self._tools)}", text=name
            )
            return ToolResult(call, f"Error: {problem}", error=problem)
        try:
            return PendingCall(call, known, arguments_of(known, call.function.arguments))
        except OutputError as error:
            return ToolResult(call, f"Error: wrong arguments: {error}", error=error)

    def _error(self, message: str) -> ToolLoopError:
        response = self._responses[-1]
        return ToolLoopError(
            f"{message[0].upper()}{message[1:]}. The conversation so far is in .messages.",
            text=response.text,
            response=response,
            messages=self._new[: self._complete],
        )


def _by_name(tools: Any) -> dict[str, Tool]:
    if callable(tools) or isinstance(tools, Mapping | Tool | ToolSet):
        raise ValidationError("tools must be a list: tools=[function]", field="tools")
    found: dict[str, Tool] = {}
    for item in expand(tools):
        if not isinstance(item, Tool | Mapping):
            raise ValidationError(
                f"a tool to run must be a function, a Tool or a dict, not {item!r:.80}",
                field="tools",
            )
        each = tool_of(item)
        if each.name in found:
            raise ValidationError(
                f"two tools are called {each.name!r}: rename one with tool_of(function, name=...)",
                field="tools",
            )
        found[each.name] = each
    if not found:
        raise ValidationError("there are no tools to run", field="tools")
    return found


def _with_ids(message: ChatMessage) -> ChatMessage:
    """The message with an id on each call, so that results can say which one they answer."""
    for call in message.tool_calls or ():
        if not call.id:
            call.id = f"call_{uuid.uuid4().hex[:24]}"
    return message
