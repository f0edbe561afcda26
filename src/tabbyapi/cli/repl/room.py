"""What the loop and the commands of a conversation at a terminal share."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from ...types.messages import ChatMessageContent
from .. import sessions
from ..dialogue import Dialogue
from .answer import AnswerView, MarkdownView, PlainView
from .markdown import readable

__all__ = ["Room"]


@dataclass
class Room:
    """One conversation at a terminal.

    Attributes:
        dialogue: the conversation.
        session: the name it is kept under.
        model: name of the model that answers, "" if unknown.
        context: its context window in tokens, None if unknown.
        pending: files and images that go out with the next turn.
        show_reasoning: show reasoning in full instead of folding it.
        draft: text to begin the next prompt with.
    """

    dialogue: Dialogue
    session: str
    model: str = ""
    context: int | None = None
    pending: list[ChatMessageContent | str] = field(default_factory=list)
    show_reasoning: bool = False
    draft: str = ""

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

    def view(self) -> AnswerView:
        """Where the next answer is shown."""
        if self.coloured:
            return MarkdownView(self.write, show_reasoning=self.show_reasoning)
        return PlainView(self.write)

    def save(self) -> None:
        """Keeps the conversation on disk, once something was said.

        Raises:
            OSError: the file cannot be written.
        """
        if any(message.role == "user" for message in self.dialogue.messages):
            saved = sessions.Saved(self.dialogue.messages, self.dialogue.params)
            sessions.save(self.session, saved)

    def resume(self, name: str) -> None:
        """Goes on with a conversation on disk.

        Raises:
            ValidationError: there is none of this name.
        """
        saved = sessions.load(name)
        self.session = name
        self.dialogue.messages = saved.messages
        self.dialogue.params = {**saved.params, **self.dialogue.params}
        self.dialogue.last = None
        self.say(f"{name!r}: {len(saved.messages)} messages so far.")
        for message in saved.messages[-2:]:
            who = ">" if message.role == "user" else " "
            self.say("\n".join(f"{who} {line}" for line in message.text.splitlines()[-6:]))

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
