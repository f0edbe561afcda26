"""The prompt: several lines, history, completion, a status line."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth

from ..._folders import data_folder
from ...errors import TabbyError
from .. import sessions
from ..params import parameter_names
from .commands import COMMANDS
from .session import PATIENCE, ChatSession

__all__ = ["make_prompt"]


def make_prompt(session: ChatSession) -> PromptSession[str]:
    """Enter sends; Alt-Enter or Ctrl-J breaks the line; pasted lines stay lines."""
    history = data_folder() / "history"
    history.parent.mkdir(parents=True, exist_ok=True)
    history.touch(mode=0o600)
    prompt: PromptSession[str] = PromptSession(
        "> ",
        multiline=True,
        prompt_continuation="  ",
        input=session.keyboard.source,
        history=FileHistory(str(history)),
        completer=_Commands(session),
        complete_while_typing=Condition(lambda: prompt.default_buffer.text.startswith("/")),
        key_bindings=_keys(session),
        bottom_toolbar=session.status if session.coloured else None,
        color_depth=None if session.coloured else ColorDepth.DEPTH_1_BIT,
        enable_open_in_editor=True,
        enable_suspend=True,
    )
    return prompt


def _keys(session: ChatSession) -> KeyBindings:
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
        if event.current_buffer.text and session.before is None:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


class _Commands(Completer):
    """Completes commands and their arguments: paths, conversations, models, parameters."""

    def __init__(self, session: ChatSession) -> None:
        self._session = session
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
        """The server's models, asked for once; empty if the server does not list them."""
        if self._models is None:
            try:
                cards = self._session.client.models.list(timeout=PATIENCE)
            except TabbyError:
                return []
            self._models = [card.id for card in cards]
        return self._models


def _starting(prefix: str, words: Iterable[str]) -> Iterable[Completion]:
    return (Completion(word, -len(prefix)) for word in words if word.startswith(prefix))
