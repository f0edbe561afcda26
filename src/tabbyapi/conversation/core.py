"""What both conversations are, but for the waiting.

A request is a plan (see fitting.py): it yields calls, is sent their answers, and touches the
history only when the model has answered. So a request that fails leaves everything as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from .._protocol.call import Call
from ..errors import ContextLengthError, StreamError, ValidationError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ChatMessage, ContentLike, MessageLike
from . import saving
from .entries import Entry, closing_entries, entries_of, entry_of, reply_entry
from .fitting import Plan, fit, refit
from .markdown import markdown_of
from .settings import Settings
from .state import State

__all__ = ["ContextUse", "Core", "Pending", "initial_state"]


class ContextUse(msgspec.Struct, frozen=True):
    """How full a conversation is, in tokens.

    Attributes:
        used: what the window takes in the next prompt, at most.
        context: what the model takes, prompt and answer together; None until it was needed.
        free: what is left of `context`; None as long as that is.
        exact: True if `used` comes from the server's own count, False while messages that it
            has not counted yet go by their length.
    """

    used: int
    context: int | None
    free: int | None
    exact: bool


class Pending(msgspec.Struct):
    """A request on its way: what it adds to the first `keep` messages of the history."""

    keep: int
    entries: list[Entry]
    start: int = 0


class Core:
    """The history, and everything that needs no server."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._settings = settings
        self._state = state
        self._busy = threading.Lock()

    # ------------------------------------------------------------------ reading

    @property
    def messages(self) -> list[ChatMessage]:
        """The whole conversation, the system message first, with the turns given up as well.

        Change it with `edit`, `append` and `system`: changes to these objects are not sent.
        """
        state = self._state
        return [entry.message for entry in (*state.system, *state.entries)]

    @property
    def window(self) -> list[ChatMessage]:
        """What the next request sends of it: the system message, with the summary if there is
        one, and the turns that were not given up.
        """
        state = self._state
        return [entry.message for entry in (*state.head, *state.entries[state.start :])]

    @property
    def summary(self) -> str:
        """What the model wrote of the turns before the window, "" if it did not."""
        return self._state.summary

    @property
    def tokens(self) -> ContextUse:
        """How full the conversation is. Asks nobody: see `ContextUse.exact`."""
        state = self._state
        used = state.ledger.bound(state.entries, state.start)
        free = None if state.context is None else max(0, state.context - used)
        return ContextUse(used, state.context, free, state.ledger.exact(state.entries, state.start))

    @property
    def system(self) -> str | None:
        """The system message's text, None if there is none. Assign to change it."""
        system = self._state.system
        return "\n\n".join(entry.message.text for entry in system) if system else None

    @system.setter
    def system(self, content: ContentLike | None) -> None:
        with self._alone():
            self._state.set_system(system_entries(content))

    def to_markdown(self, *, reasoning: bool = False) -> str:
        """The conversation as Markdown, for people; `reasoning` includes the model's."""
        return markdown_of(self.messages, reasoning=reasoning)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def __len__(self) -> int:
        return len(self._state.system) + len(self._state.entries)

    def __repr__(self) -> str:
        tokens = self.tokens
        size = f"{tokens.used}" if tokens.context is None else f"{tokens.used}/{tokens.context}"
        return f"<{type(self).__name__}: {len(self)} messages, {size} tokens>"

    # ----------------------------------------------------------------- changing

    def append(self, *messages: MessageLike) -> None:
        """Adds messages without asking the model, e.g. an earlier exchange or an example.

        Raises:
            ValidationError: naming the message; nothing is added then.
        """
        new = [entry_of(message, f"messages[{i}]") for i, message in enumerate(messages)]
        with self._alone():
            self._state.entries += new

    def edit(self, index: int, content: ContentLike | MessageLike) -> None:
        """Replaces the message at `index` of `messages`, and drops what came after it.

        What followed was said to the old text; `regenerate()` asks for a new answer. A system
        message is replaced and nothing dropped.

        Raises:
            IndexError: there is no such message.
            ValidationError: the content cannot be sent.
        """
        state = self._state
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"there is no message {index}: the conversation has {len(self)}")
        old = self.messages[at]
        if not isinstance(content, ChatMessage | Mapping):
            content = ChatMessage(
                old.role,
                content if isinstance(content, str) else list(content),  # type: ignore[arg-type]
                tool_call_id=old.tool_call_id,
            )
        entry = entry_of(content)
        with self._alone():
            if at < len(state.system):
                state.set_system([*state.system[:at], entry, *state.system[at + 1 :]])
                return
            at -= len(state.system)
            state.cut(at)
            state.entries.append(entry)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the conversation to a JSON file, whole or not at all.

        Functions given as tools and `timeout` are not written; give them again when loading.

        Raises:
            ValidationError: a parameter has no JSON form.
            OSError: the file cannot be written; an old one stays as it was.
        """
        saving.save(Path(path), self._settings, self._state)

    def _copied(self) -> tuple[Settings, State]:
        settings = msgspec.structs.replace(self._settings, params=dict(self._settings.params))
        return settings, self._state.copy()

    # -------------------------------------------------------------------- plans

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._begin()
        try:
            yield
        finally:
            self._busy.release()

    def _begin(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise ValidationError(
                "this conversation is waiting for an answer already: finish or close that first, "
                "or talk to a fork() of it. One thread or task may use a conversation at a time"
            )

    def _params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._settings.params, **params}

    def _new(self, content: Any) -> Pending:
        """The request that `send` and `stream` make."""
        state = self._state
        entries = entries_of(content)
        closing = closing_entries(state.entries, entries)
        return Pending(len(state.entries), [*closing, *entries])

    def _again(self) -> Pending:
        """The request that `regenerate` makes."""
        entries = self._state.entries
        keep = len(entries)
        if entries and entries[-1].role == "assistant":
            keep -= 1
        if keep == 0 or entries[keep - 1].role not in ("user", "tool"):
            raise ValidationError("there is nothing to answer again: send a message first")
        return Pending(keep, [])

    def _ask(
        self,
        pending: Pending,
        params: Mapping[str, Any],
        make: Callable[[Sequence[Any], Mapping[str, Any]], Call[Any]],
    ) -> Plan[Any]:
        """Makes the conversation fit and sends it; returns what `make`'s call gives.

        Raises:
            ContextLengthError: it does not fit, and may not or cannot be made to.
            TabbyError: as the call. The history is unchanged.
        """
        state, policy = self._state, self._settings.on_overflow
        prompt = self._settings.summary_prompt
        entries = [*state.entries[: pending.keep], *pending.entries]
        if pending.keep < len(state.entries):
            state.ledger.cut(pending.keep)
        state.prepare(params)
        try:
            yield from fit(state, entries, pending.keep, params, policy, prompt)
            try:
                result = yield make(state.window(entries), params)
            except ContextLengthError as error:
                if policy == "raise" or isinstance(error, StreamError):
                    raise
                yield from refit(state, entries, pending.keep, params, policy, error, prompt)
                result = yield make(state.window(entries), params)
        except BaseException:
            state.ledger.cut(len(state.entries))
            raise
        pending.start = state.start
        return result

    def _measure(self, pending: Pending, response: ChatCompletionResponse) -> None:
        """Notes what an answer's usage says of the prompt it had."""
        state = self._state
        state.answered_by(response.model)
        if response.usage is not None:
            stop = pending.keep + len(pending.entries)
            state.ledger.measured(pending.start, stop, response.usage.prompt_tokens)

    def _commit(
        self, pending: Pending, response: ChatCompletionResponse, *, complete: bool = True
    ) -> None:
        """Adds an answer, and what it answers, to the history."""
        self._measure(pending, response)
        reply = reply_entry(response, complete=complete)
        self._state.entries[pending.keep :] = [*pending.entries, reply]

    def _settle(
        self, pending: Pending, response: ChatCompletionResponse | None, *, complete: bool
    ) -> None:
        """The end of a stream: `response` is what arrived, None if nothing did."""
        kept = complete or self._settings.keep_partial
        if response is not None and kept and (complete or response.text or response.reasoning):
            self._commit(pending, response, complete=complete)
        else:
            self._state.ledger.cut(len(self._state.entries))


def system_entries(content: ContentLike | None) -> list[Entry]:
    """A system message, given as text, parts or a message."""
    if content is None:
        return []
    if isinstance(content, ChatMessage):
        return [entry_of(content, "system")]
    return [entry_of({"role": "system", "content": content}, "system")]


def initial_state(
    system: ContentLike | None,
    messages: Sequence[MessageLike] = (),
    context_size: int | None = None,
) -> State:
    """The state that a conversation begins with; see `ConversationOptions`.

    Raises:
        ValidationError: an argument that cannot be used.
    """
    if isinstance(messages, str | bytes | Mapping):
        raise ValidationError("messages must be a list of messages", field="messages")
    if context_size is not None and context_size < 1:
        raise ValidationError(
            f"context_size is {context_size}, but must be 1 or more", field="context_size"
        )
    entries = [entry_of(message, f"messages[{i}]") for i, message in enumerate(messages)]
    head = system_entries(system)
    while entries and entries[0].role == "system":
        head.append(entries.pop(0))
    state = State(entries=entries, context=context_size, fixed=context_size is not None)
    state.set_system(head)
    return state
