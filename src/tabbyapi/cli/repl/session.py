"""One conversation at a terminal: what the loop and the commands share."""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import ModelNotLoadedError
from ...types.messages import ChatMessageContent
from .. import sessions
from ..output import printable
from .answer import AnswerView, MarkdownView, PlainView, Work, follow
from .keyboard import Keyboard
from .screen import terminal_size

if TYPE_CHECKING:
    from ..._client.sync import Client
    from ...conversation import Conversation
    from ...types.chat import ChatCompletionResponse

__all__ = ["PATIENCE", "ChatSession", "Snapshot"]

_RECALLED = 10  # messages shown of a conversation that goes on
_LINES = 12  # of each, at most
PATIENCE = 5.0
"""Seconds to wait for information that the chat can do without."""


@dataclass(frozen=True)
class Snapshot:
    """State before a turn, restored if the turn fails."""

    conversation: Conversation
    last: ChatCompletionResponse | None
    pending: list[ChatMessageContent | str]


@dataclass
class ChatSession:
    """One conversation at a terminal.

    Attributes:
        client: where turns are sent.
        conversation: what was said, and how answers are generated.
        name: the name it is saved under.
        keyboard: the terminal's keys, while no prompt reads them.
        flags: parameters given on the command line; they win over those of a saved conversation.
        last: the last answer, None before the first and after it was taken back.
        model: name of the model that answers, "" if unknown or none.
        context: its context window in tokens, None if unknown.
        looked_up: the model whose context window was asked for, "" if none is loaded, None if
            the server has not told.
        pending: files and images that go out with the next turn.
        before: state before a turn was taken back to be sent again, None if none was.
        draft: text to begin the next prompt with.
        offered: models to choose from by number.
        show_reasoning: show reasoning in full instead of folding it.
        allow_tools: make calls of tools without asking.
    """

    client: Client
    conversation: Conversation
    name: str
    keyboard: Keyboard
    flags: dict[str, Any] = field(default_factory=dict)
    last: ChatCompletionResponse | None = None
    model: str = ""
    context: int | None = None
    looked_up: str | None = None
    pending: list[ChatMessageContent | str] = field(default_factory=list)
    before: Snapshot | None = None
    draft: str = ""
    offered: list[str] = field(default_factory=list)
    show_reasoning: bool = False
    allow_tools: bool = False

    @property
    def coloured(self) -> bool:
        """True if colours and cursor movements are welcome."""
        return not os.environ.get("NO_COLOR")

    def say(self, text: str, indent: str = "") -> None:
        """A notice of the program, broken at words; further lines are indented by `indent`."""
        width = max(terminal_size()[0] - 1, 8)
        for line in printable(text).split("\n"):
            wrapped = textwrap.wrap(
                line,
                width,
                subsequent_indent=indent if len(indent) < width // 2 else "    ",
                break_on_hyphens=False,
                replace_whitespace=False,
            )
            for part in wrapped or [""]:
                self.write(f"\x1b[2m{part}\x1b[0m\n" if self.coloured and part else f"{part}\n")

    def write(self, text: str) -> None:
        """Put text on the screen at once, escape sequences included."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def view(self) -> AnswerView:
        """Display of the next answer."""
        if self.coloured:
            return MarkdownView(self.write, show_reasoning=self.show_reasoning)
        return PlainView(self.write, show_reasoning=self.show_reasoning)

    def watch(self, work: Work) -> bool:
        """Wait for work in the background, with signs of life; False if Ctrl-C ended the wait.

        Raises:
            TabbyError: as the work does.
        """
        view = self.view()
        try:
            with self.keyboard.listening():
                return follow(work, view, self.keyboard)
        finally:
            view.finish()

    def look_up_model(self, answered: str = "") -> None:
        """Ask which model is loaded, and its context window; not all servers have the route.

        Args:
            answered: name of the model that answered; asked only if it is another one.

        Raises:
            TabbyError: the server has no such route, or cannot be reached.
        """
        if answered and answered == self.looked_up:
            return
        self.model, self.context, self.looked_up = answered, None, answered or None
        try:
            card = self.client.models.get(timeout=PATIENCE)
        except ModelNotLoadedError:
            self.looked_up = answered
            return
        self.model = self.looked_up = answered or card.id
        self.context = card.parameters.max_seq_len if card.parameters else None

    def snapshot(self) -> Snapshot:
        """The state now, to `restore` it."""
        return Snapshot(self.conversation.fork(), self.last, list(self.pending))

    def restore(self, before: Snapshot) -> None:
        """Go back to an earlier state."""
        self.conversation, self.last = before.conversation, before.last
        self.pending = list(before.pending)

    @property
    def empty(self) -> bool:
        """True before the user has said anything."""
        return not any(message.role == "user" for message in self.conversation.messages)

    def save(self) -> None:
        """Save the conversation, once something was said.

        Raises:
            OSError: the file cannot be written.
        """
        if not self.empty:
            sessions.save(self.name, self.conversation)

    def resume(self, name: str) -> None:
        """Go on with a saved conversation; `flags` win over its parameters.

        Raises:
            ValidationError: there is none of this name.
        """
        conversation = sessions.load(name, self.client)
        conversation.params = {**conversation.params, **self.flags}
        self.conversation, self.name, self.last = conversation, name, None
        messages = conversation.messages
        self.say(f"{name!r}: {len(messages)} messages so far.")
        shown = messages[-_RECALLED:]
        if len(shown) < len(messages):
            self.say(f"  … {len(messages) - len(shown)} before these")
        for message in shown:
            mark = {"user": "> ", "system": "# "}.get(message.role, "  ")
            lines = message.text.splitlines()
            if len(lines) > _LINES:
                self.say(f"{mark}… {len(lines) - _LINES} lines")
            for line in lines[-_LINES:]:
                self.say(mark + line, indent="  ")

    def tokens_used(self) -> tuple[int, bool]:
        """Tokens that the conversation takes, and False if that is an upper bound."""
        usage = self.last.usage if self.last is not None else None
        if usage is not None and usage.total_tokens:
            return usage.total_tokens, True
        return self.conversation.tokens.used, False

    def status(self) -> str:
        """Model, tokens used of the context, cached tokens, and speed, in one line."""
        parts = [self.model] if self.model else []
        if self.looked_up == "":
            parts.append("no model loaded")
        if self.empty:
            if self.context:
                parts.append(f"context {self.context:,}")
        else:
            tokens, exact = self.tokens_used()
            used = f"{'' if exact else 'up to '}{tokens:,}"
            if self.context:
                parts.append(f"{used}/{self.context:,} tokens ({tokens / self.context:.0%})")
            else:
                parts.append(f"{used} tokens")
        usage = self.last.usage if self.last is not None else None
        if usage and usage.cached_tokens:
            parts.append(f"{usage.cached_tokens:,} cached")
        rate = usage.completion_tokens_per_sec if usage else None
        if isinstance(rate, int | float):
            parts.append(f"{rate:.1f} tokens/s")
        if self.pending:
            parts.append(f"{len(self.pending)} attached")
        return printable(" · ".join([*parts, self.name]))
