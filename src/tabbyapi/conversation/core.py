"""State and rules shared by the sync and the async conversation.

States: idle, or busy with one request (`_busy` is held from `_begin` to the end of the request
or of its stream). A request is a plan (see fitting.py): a generator that yields calls and is
sent their answers. It works on a `Pending`; the history changes in `_commit` only, after the
model has answered, so a request that fails leaves it as it was. What a plan may change before
that is the window's beginning and what is known about token counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Self

import msgspec

from .._protocol.call import Call
from ..errors import ContextLengthError, StreamError, ValidationError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ChatMessage, ContentLike, MessageLike
from . import saving
from .entries import Entry, closing_entries, entries_of, entry_of, reply_entry, turn_start
from .fitting import Plan, fit, refit
from .markdown import markdown_of
from .settings import Settings
from .state import State

__all__ = ["ContextUse", "Core", "Pending", "initial_state"]


class ContextUse(msgspec.Struct, frozen=True):
    """Tokens used and left in a conversation's context window.

    Attributes:
        used: upper bound of what the window takes in the next prompt.
        context: the model's context, prompt and answer together; None until it was needed.
        free: `context` less `used`; None as long as `context` is.
        exact: True if `used` comes from the server's own count, False while it includes
            messages that are estimated by their length.
    """

    used: int
    context: int | None
    free: int | None
    exact: bool


class Pending(msgspec.Struct):
    """A request under way.

    Attributes:
        keep: how many messages of the history it builds on.
        entries: what it adds to them.
        start: where its window began.
    """

    keep: int
    entries: list[Entry]
    start: int = 0


class Core:
    """The history, and everything that needs no server."""

    def __init__(self, client: Any, settings: Settings, state: State) -> None:
        self._client = client
        self._settings = settings
        self._state = state
        self._busy = threading.Lock()

    @classmethod
    def begin(cls, client: Any, system: ContentLike | None, options: Mapping[str, Any]) -> Self:
        """Begin a conversation; see `Client.conversation`."""
        state = initial_state(system, options.get("messages") or (), options.get("context_size"))
        return cls(client, Settings.of(options), state)

    @classmethod
    def load(cls, path: str | PathLike[str], client: Any, **changes: Any) -> Self:
        """Load a saved conversation; see `Client.load_conversation`."""
        return cls(client, *saving.load(Path(path), changes))

    def fork(self) -> Self:
        """Make an independent copy with the same client. It costs a list of references.

        `copy.copy` and `copy.deepcopy` do the same.
        """
        settings = msgspec.structs.replace(self._settings, params=dict(self._settings.params))
        return type(self)(self._client, settings, self._state.copy())

    __copy__ = fork

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

    def __reduce__(self) -> Any:
        raise TypeError("a conversation cannot be pickled: use save() and load_conversation()")

    # ------------------------------------------------------------------ reading

    @property
    def messages(self) -> list[ChatMessage]:
        """All messages, the system message first, including turns that are no longer sent.

        Change them with `edit`, `append` and `system`: changes to these objects are not sent.
        """
        state = self._state
        return [entry.message for entry in (*state.system, *state.entries)]

    @property
    def window(self) -> list[ChatMessage]:
        """The messages that the next request sends: the system message, with the summary if
        there is one, and the turns that were not left out.
        """
        state = self._state
        return [entry.message for entry in (*state.head, *state.entries[state.start :])]

    @property
    def summary(self) -> str:
        """The model's summary of the turns before the window, "" if there is none."""
        return self._state.summary

    @property
    def tokens(self) -> ContextUse:
        """How full the conversation is. Sends no request: see `ContextUse.exact`."""
        state = self._state
        used = state.bound(state.entries)
        free = None if state.context is None else max(0, state.context - used)
        exact = state.token_counts.exact(state.entries, state.start)
        return ContextUse(used, state.context, free, exact)

    @property
    def left_out(self) -> list[str]:
        """After loading: parameters that the file could not hold and that were not given again.

        For example `["tools (get_weather)", "on_call"]`.
        """
        return self._settings.left_out

    @property
    def system(self) -> str | None:
        """The system message's text, None if there is none. Assign to change it."""
        system = self._state.system
        return "\n\n".join(entry.message.text for entry in system) if system else None

    @system.setter
    def system(self, content: ContentLike | None) -> None:
        with self._alone():
            self._state.set_system(system_entries(content))

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of every request. Assign to change them."""
        return dict(self._settings.params)

    @params.setter
    def params(self, params: Mapping[str, Any]) -> None:
        self._settings.params = dict(params)

    def to_markdown(self, *, reasoning: bool = False) -> str:
        """Format the conversation as Markdown; `reasoning` includes the model's reasoning."""
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
        """Add messages without asking the model, e.g. an earlier exchange or an example.

        Raises:
            ValidationError: naming the message; nothing is added then.
        """
        new = [entry_of(message, f"messages[{i}]") for i, message in enumerate(messages)]
        with self._alone():
            self._state.entries += new

    def edit(self, index: int, content: ContentLike | MessageLike) -> None:
        """Replace the message at `index` of `messages`, and drop the messages after it.

        `regenerate()` then asks for an answer to the new text. If it is a system message that
        is replaced, nothing is dropped.

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

    def undo(self) -> ContentLike | None:
        """Take the last turn back: the last message of the user, and all that followed it.

        Returns:
            The content of that message, to say it again or differently. None if no user's
            message is left; nothing changes then.
        """
        entries = self._state.entries
        at = turn_start(entries, len(entries) - 1)
        if not entries or entries[at].role != "user":
            return None
        content = entries[at].message.content
        with self._alone():
            self._state.cut(at)
        return content

    def save(self, path: str | PathLike[str]) -> None:
        """Write the conversation to a JSON file, whole or not at all.

        Parameters that have no JSON form (functions given as tools, hooks, types, a `Timeout`)
        are left out; loading says which ones have to be given again.

        Raises:
            OSError: the file cannot be written; an old one stays as it was.
        """
        saving.save(Path(path), self._settings, self._state)

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
                "this conversation is waiting for an answer already: finish or close that "
                "request first, or use a fork(). One thread or task may use a conversation at a "
                "time"
            )

    def _params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.request_params(params)

    def _new(self, content: Any) -> Pending:
        """Begin the request of `send` and `stream`."""
        state = self._state
        entries = entries_of(content)
        closing = closing_entries(state.entries, entries)
        return Pending(len(state.entries), [*closing, *entries])

    def _again(self) -> Pending:
        """Begin the request of `regenerate`."""
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
        """Make the conversation fit and send it; return the result of `make`'s call.

        Raises:
            ContextLengthError: it does not fit, and may not or cannot be made to.
            TabbyError: as the call. The history is unchanged.
        """
        state, policy = self._state, self._settings.on_overflow
        prompt = self._settings.summary_prompt
        entries = [*state.entries[: pending.keep], *pending.entries]
        if pending.keep < len(state.entries):
            state.token_counts.cut(pending.keep)
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
            state.token_counts.cut(len(state.entries))
            raise
        pending.start = state.start
        return result

    def _measure(self, pending: Pending, response: ChatCompletionResponse) -> None:
        """Record the token counts of an answer's prompt."""
        state = self._state
        state.answered_by(response.model)
        if response.usage:
            stop = pending.keep + len(pending.entries)
            state.token_counts.measured(pending.start, stop, response.usage.prompt_tokens)

    def _commit(
        self, pending: Pending, response: ChatCompletionResponse, *, complete: bool = True
    ) -> None:
        """Add an answer, and the messages it answers, to the history."""
        self._measure(pending, response)
        reply = reply_entry(response, complete=complete)
        self._state.entries[pending.keep :] = [*pending.entries, reply]

    def _settle(
        self, pending: Pending, response: ChatCompletionResponse | None, *, complete: bool
    ) -> None:
        """End a stream: keep what arrived (`response`, None if nothing did), or drop the turn."""
        kept = complete or self._settings.keep_partial
        if response is not None and kept and (complete or response.text or response.reasoning):
            self._commit(pending, response, complete=complete)
        else:
            self._state.token_counts.cut(len(self._state.entries))

    def _ending_of(self, pending: Pending) -> Callable[[ChatCompletionResponse | None, bool], None]:
        """For `streams.Ending`: settle the turn and release the conversation."""

        def settle(response: ChatCompletionResponse | None, complete: bool) -> None:
            try:
                self._settle(pending, response, complete=complete)
            finally:
                self._busy.release()

        return settle


def system_entries(content: ContentLike | None) -> list[Entry]:
    """Entries of a system message that is given as text, parts or a message."""
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
    """Make the state of a new conversation; see `ConversationOptions`.

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
