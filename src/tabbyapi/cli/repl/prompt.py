"""Reading a turn: several lines, history, completion, a status line."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth

from ...errors import TabbyError
from .. import sessions
from ..params import parameter_names
from .commands import COMMANDS
from .session import ChatSession

__all__ = ["make_prompt"]


def make_prompt(room: ChatSession) -> PromptSession[str]:
    """Enter sends; Alt-Enter or Ctrl-J breaks the line; pasted lines stay lines."""
    history = sessions.data_folder() / "history"
    history.touch(mode=0o600)
    session: PromptSession[str] = PromptSession(
        "> ",
        multiline=True,
        prompt_continuation="  ",
        history=FileHistory(str(history)),
        completer=_Commands(room),
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        key_bindings=_keys(room),
        bottom_toolbar=room.status if room.coloured else None,
        color_depth=None if room.coloured else ColorDepth.DEPTH_1_BIT,
        enable_open_in_editor=True,
    )
    return session


def _keys(room: ChatSession) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None  # Enter takes the completion, the next one sends
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def stop(event: KeyPressEvent) -> None:
        if event.current_buffer.text and room.before_edit is None:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


class _Commands(Completer):
    """Commands by name, and what they take: paths, conversations, models, parameters."""

    def __init__(self, room: ChatSession) -> None:
        self._room = room
        self._models: list[str] | None = None
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/"):
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for command in COMMANDS.values():
                if command.name.startswith(name):
                    yield Completion(
                        command.name, -len(name), display_meta=command.help, display=command.usage
                    )
            return
        found = COMMANDS.get(name)
        kind = found.takes if found else ""
        if kind == "path":
            inner = Document(argument, len(argument))
            yield from self._paths.get_completions(inner, complete_event)
        elif kind == "session":
            yield from _starting(argument, sessions.names())
        elif kind == "model":
            yield from _starting(argument, self._model_names())
        elif kind == "param":
            last = argument.rpartition(" ")[2]
            yield from _starting(last, [f"{name}=" for name in parameter_names()])

    def _model_names(self) -> list[str]:
        """The server's models, asked for once; none where it does not tell."""
        if self._models is None:
            try:
                self._models = [card.id for card in self._room.dialogue.client.models.list()]
            except TabbyError:
                return []
        return self._models


def _starting(prefix: str, words: Iterable[str]) -> Iterable[Completion]:
    return (Completion(word, -len(prefix)) for word in words if word.startswith(prefix))
