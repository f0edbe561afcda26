"""The slash commands of a conversation at a terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import click

from ..._services.chat import chat_call
from ...errors import ModelNotLoadedError, ValidationError
from ...types.messages import ContentLike, user
from .. import sessions
from ..inputs import attached
from ..params import parse_parameter
from .clipboard import put_on_clipboard
from .session import ChatSession

__all__ = ["COMMANDS", "Command", "CommandError", "Leave", "perform"]


class Leave(Exception):
    """The conversation is over."""


class CommandError(Exception):
    """A command could not be carried out; the message says why."""


@dataclass(frozen=True)
class Command:
    """A slash command.

    Attributes:
        usage: how it is written, without the slash.
        takes: what its argument is, for completion: "path", "session", "model", "param"
            or "".
        run: carries it out; returns what is to be said next, None for nothing.
    """

    usage: str
    help: str
    run: Callable[[ChatSession, str], ContentLike | None]
    takes: str = ""

    @property
    def name(self) -> str:
        return self.usage.split(" ")[0]


def perform(room: ChatSession, line: str) -> ContentLike | None:
    """Carries out a line that began with a slash; returns what is to be said next.

    Raises:
        Refused: there is no such command, or it could not be carried out.
        Leave: the conversation is over.
        TabbyError, OSError: from the server, or from files.
    """
    name, _, argument = line.partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        close = get_close_matches(name, COMMANDS, n=1)
        raise CommandError(
            f"There is no /{name}" + (f"; /{close[0]}?" if close else "; see /help.")
        )
    try:
        return command.run(room, argument.strip())
    except (ValueError, click.UsageError) as error:
        raise CommandError(str(error)) from None


def _help(room: ChatSession, _: str) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        room.say(f"  /{command.usage:<{width}}  {command.help}")
    room.say("A turn that begins with a slash is written with two.")


def _system(room: ChatSession, text: str) -> None:
    if text:
        room.dialogue.instructions = "" if text == "-" else text
    room.say(f"System: {room.dialogue.instructions or '(none)'}")


def _image(room: ChatSession, path: str) -> None:
    from ... import image

    room.pending.append(image(_path(path) if "://" not in path else path))
    room.say(f"{path} goes out with your next message.")


def _file(room: ChatSession, path: str) -> None:
    room.pending.append("\n\n" + attached(_path(path)))
    room.say(f"{path} goes out with your next message.")


def _params(room: ChatSession, text: str) -> None:
    params = dict(room.dialogue.params)
    for word in shlex.split(text):
        if word.endswith("="):
            params.pop(word[:-1].replace("-", "_"), None)
        else:
            name, value = parse_parameter(word)
            params[name] = value
    chat_call([user("?")], params)  # a wrong value is refused here, not at every turn from now on
    room.dialogue.params.clear()
    room.dialogue.params.update(params)
    shown = [f"{name}={json.dumps(value)}" for name, value in params.items()]
    room.say(" ".join(shown) or "Nothing is set: the server's defaults apply.")


def _retry(room: ChatSession, _: str) -> ContentLike:
    said = room.dialogue.retake()
    if said is None:
        raise CommandError("There is nothing to try again.")
    return said


def _edit(room: ChatSession, _: str) -> None:
    said = room.dialogue.retake()
    if said is None:
        raise CommandError("There is nothing to edit.")
    room.before_edit = room.pending
    if isinstance(said, str):
        room.draft = said
    else:
        first, *rest = said
        room.draft = first if isinstance(first, str) else ""
        room.pending = list(rest) if room.draft else list(said)  # type: ignore[arg-type]


def _undo(room: ChatSession, _: str) -> None:
    if room.dialogue.undo() is None:
        raise CommandError("There is nothing to undo.")
    room.save()
    room.say("The last turn is taken back.")


def _clear(room: ChatSession, _: str) -> None:
    instructions = room.dialogue.instructions
    room.dialogue.messages = []
    room.dialogue.instructions = instructions
    room.dialogue.last = None
    room.session = sessions.fresh_name()
    room.say("A new conversation.")


def _save(room: ChatSession, name: str) -> None:
    if not any(message.role == "user" for message in room.dialogue.messages):
        raise CommandError("Nothing has been said yet.")
    if name:
        sessions.path_of(name)
        room.session = name
    room.save()
    room.say(f"Kept. Go on any time with: tabbyapi chat --session '{room.session}'")


def _load(room: ChatSession, name: str) -> None:
    if not name:
        known = sessions.names()
        raise CommandError(
            "Conversations: " + ", ".join(known[:20]) if known else "There are none."
        )
    room.resume(name)


def _model(room: ChatSession, name: str) -> None:
    models = room.dialogue.client.models
    if name:
        room.say(f"Loading {name} ...")
        models.load(name)
    try:
        card = models.get()
    except ModelNotLoadedError:
        room.model, room.context = "", None
    else:
        room.model = card.id
        room.context = card.parameters.max_seq_len if card.parameters else None
    room.looked_at = room.model
    room.say(f"Model: {room.model or '(none is loaded)'}")
    if not name:
        others = [card.id for card in models.list() if card.id != room.model]
        room.say("Others: " + ", ".join(others) if others else "There are no others to load.")


def _tokens(room: ChatSession, _: str) -> None:
    usage = room.dialogue.last.usage if room.dialogue.last else None
    if usage is None:
        raise CommandError("Not known before the first answer.")
    of = f" of {room.context:,}" if room.context else ""
    room.say(
        f"{usage.total_tokens:,} tokens{of}: {usage.prompt_tokens:,} before the last answer, "
        f"{usage.completion_tokens:,} in it."
    )


def _copy(room: ChatSession, _: str) -> None:
    last = room.dialogue.last
    if last is None or not last.text:
        raise CommandError("There is no answer to copy.")
    room.say(put_on_clipboard(last.text, room.write))


def _think(room: ChatSession, how: str) -> None:
    if how in ("show", "fold"):
        room.show_reasoning = how == "show"
        room.say("Reasoning will be shown." if room.show_reasoning else "Reasoning will be folded.")
        return
    last = room.dialogue.last
    if last is None or not last.reasoning:
        raise CommandError("The last answer came without reasoning. /think show keeps it unfolded.")
    room.say(last.reasoning.strip())


def _quit(room: ChatSession, _: str) -> None:
    raise Leave


def _path(text: str) -> Path:
    if not text:
        raise ValueError("Which file? Give its path.")
    path = Path(text.strip("'\"")).expanduser()
    if not path.is_file():
        raise ValidationError(f"there is no file {path}", field="path")
    return path


COMMANDS = {
    command.name: command
    for command in (
        Command("help", "this list", _help),
        Command("system [TEXT]", "show or set the instructions; - removes them", _system),
        Command("image PATH", "send an image with the next message", _image, "path"),
        Command("file PATH", "send a text file with the next message", _file, "path"),
        Command("params [NAME=VALUE]...", "show or set sampling; NAME= resets", _params, "param"),
        Command(
            "model [NAME]", "which model answers; or load another (admin key)", _model, "model"
        ),
        Command("retry", "ask again for the last answer", _retry),
        Command("edit", "take the last message back and change it", _edit),
        Command("undo", "take the last turn back", _undo),
        Command("clear", "begin a new conversation", _clear),
        Command("save [NAME]", "keep the conversation under a name", _save, "session"),
        Command("load [NAME]", "go on with a conversation, or list them", _load, "session"),
        Command("tokens", "how much of the context is used", _tokens),
        Command("copy", "put the last answer on the clipboard", _copy),
        Command("think [show|fold]", "the last reasoning; or how to show it from now on", _think),
        Command("quit", "leave (Ctrl-D does, too)", _quit),
    )
}
