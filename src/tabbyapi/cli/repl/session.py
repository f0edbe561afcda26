"""What the loop and the commands of a conversation at a terminal share."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from ...errors import TabbyError
from ...types.messages import ChatMessageContent
from .. import sessions
from ..dialogue import Dialogue
from .answer import AnswerView, MarkdownView, PlainView
from .markdown import readable

__all__ = ["ChatSession"]

_RECALLED = 10  # messages shown of a conversation that goes on
_LINES = 12  # of each, at most
_PATIENCE = 3.0  # seconds for what is only good to know


@dataclass
class ChatSession:
    """One conversation at a terminal.

    Attributes:
        dialogue: the conversation.
        session: the name it is kept under.
        model: name of the model that answers, "" if unknown.
        context: its context window in tokens, None if unknown.
        looked_at: the model whose context window was asked for.
        pending: files and images that go out with the next turn.
        show_reasoning: show reasoning in full instead of folding it.
        draft: text to begin the next prompt with.
        before_edit: what was pending before a message was taken back to be changed, None when
            none was.
        offered: models to choose from by number.
        flags: parameters given on the command line; they win over those of a conversation.
    """

    dialogue: Dialogue
    session: str
    model: str = ""
    context: int | None = None
    looked_at: str = ""
    pending: list[ChatMessageContent | str] = field(default_factory=list)
    show_reasoning: bool = False
    draft: str = ""
    before_edit: list[ChatMessageContent | str] | None = None
    offered: list[str] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def coloured(self) -> bool:
        """Whether colours and cursor movements are welcome."""
        return not os.environ.get("NO_COLOR")

    def say(self, text: str) -> None:
        """A line from the program itself."""
        text = readable(text)
        self.write(f"\x1b[2m{text}\x1b[0m\n" if self.coloured and text else f"{text}\n")

    def write(self, text: str) -> None:
        """Puts text on the screen at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def look_at_model(self) -> None:
        """Learns the context window of the model that answers, once; not all servers tell."""
        if self.looked_at == self.model:
            return
        self.looked_at, self.context = self.model, None
        with contextlib.suppress(TabbyError):
            card = self.dialogue.client.models.get(timeout=_PATIENCE)
            self.context = card.parameters.max_seq_len if card.parameters else None

    def view(self) -> AnswerView:
        """Where the next answer is shown."""
        if self.coloured:
            return MarkdownView(self.write, show_reasoning=self.show_reasoning)
        return PlainView(self.write, show_reasoning=self.show_reasoning)

    def save(self) -> None:
        """Keeps the conversation on disk, once something was said.

        Raises:
            OSError: the file cannot be written.
        """
        if any(message.role == "user" for message in self.dialogue.messages):
            saved = sessions.Saved(self.dialogue.messages, self.dialogue.params)
            sessions.save(self.session, saved)

    def resume(self, name: str) -> None:
        """Goes on with a conversation on disk, with its parameters except where flags say else.

        Raises:
            ValidationError: there is none of this name.
        """
        saved = sessions.load(name)
        self.session = name
        self.dialogue.messages = saved.messages
        self.dialogue.params = {**saved.params, **self.flags}
        self.dialogue.last = None
        self.say(f"{name!r}: {len(saved.messages)} messages so far.")
        shown = saved.messages[-_RECALLED:]
        if len(shown) < len(saved.messages):
            self.say(f"  … {len(saved.messages) - len(shown)} before these")
        for message in shown:
            who = {"user": ">", "system": "#"}.get(message.role, " ")
            lines = message.text.splitlines()
            left_out = [f"… {len(lines) - _LINES} lines"] if len(lines) > _LINES else []
            self.say("\n".join(f"{who} {line}" for line in [*left_out, *lines[-_LINES:]]))

    def cancel_edit(self) -> None:
        """A message that was taken back to be changed is as it was."""
        if self.before_edit is not None:
            self.pending, self.before_edit = self.before_edit, None
            self.dialogue.put_back()
            self.say("The message stays as it was.")

    def status(self) -> str:
        """Model, tokens used of the context, and speed, in one line."""
        parts = [self.model or "no model yet"]
        last = self.dialogue.last
        usage = last.usage if last is not None else None
        if usage is not None:
            used = f"{usage.total_tokens:,}"
            if self.context:
                share = usage.total_tokens / self.context
                used += f"/{self.context:,} tokens ({share:.0%})"
            else:
                used += " tokens"
            parts.append(used)
            rate = usage.completion_tokens_per_sec
            if isinstance(rate, int | float):
                parts.append(f"{rate:.1f} tokens/s")
        elif self.context:
            parts.append(f"context {self.context:,}")
        if self.pending:
            parts.append(f"{len(self.pending)} attached")
        return " · ".join([*parts, self.session])
