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
from ...errors import ValidationError
from ...types.messages import ContentLike, user
from .. import sessions
from ..inputs import attached
from ..params import parse_parameter
from .answer import Work
from .clipboard import put_on_clipboard
from .session import PATIENCE, ChatSession

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
        help: what it does, for /help.
        run: carries it out; returns the message to send next, None for none.
        takes: kind of its argument, for completion: "path", "session", "model", "param" or "".
    """

    usage: str
    help: str
    run: Callable[[ChatSession, str], ContentLike | None]
    takes: str = ""

    @property
    def name(self) -> str:
        return self.usage.split(" ")[0]


def perform(session: ChatSession, line: str) -> ContentLike | None:
    """Carry out a line that began with a slash; return the message to send next.

    Raises:
        CommandError: there is no such command, or it could not be carried out.
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
        return command.run(session, argument.strip())
    except (ValueError, click.UsageError) as error:
        raise CommandError(str(error)) from None


def _help(session: ChatSession, _: str) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        session.say(f"  /{command.usage:<{width}}  {command.help}", indent=" " * (width + 5))
    session.say("A message that begins with a slash is written with two.")


def _system(session: ChatSession, text: str) -> None:
    if text:
        session.conversation.system = None if text == "-" else text
    session.say(f"System: {session.conversation.system or '(none)'}")


def _image(session: ChatSession, path: str) -> None:
    from ... import image

    session.pending.append(image(_path(path) if "://" not in path else path))
    session.say(f"{path} goes out with your next message.")


def _file(session: ChatSession, path: str) -> None:
    session.pending.append("\n\n" + attached(_path(path)))
    session.say(f"{path} goes out with your next message.")


def _params(session: ChatSession, text: str) -> None:
    params = session.conversation.params
    for word in shlex.split(text):
        if word.endswith("="):
            params.pop(word[:-1].replace("-", "_"), None)
        else:
            name, value = parse_parameter(word)
            params[name] = value
    chat_call([user("?")], params)  # a wrong value is refused here, not at every turn from now on
    session.conversation.params = params
    shown = [f"{name}={json.dumps(value)}" for name, value in params.items()]
    session.say(" ".join(shown) or "Nothing is set: the server's defaults apply.")


def _retry(session: ChatSession, _: str) -> ContentLike:
    return _taken_back(session, "There is nothing to try again.")


def _edit(session: ChatSession, _: str) -> None:
    said = _taken_back(session, "There is nothing to edit.")
    if isinstance(said, str):
        session.draft, session.pending = said, []
    else:
        first, *rest = said
        session.draft = first if isinstance(first, str) else ""
        session.pending = list(rest) if session.draft else list(said)  # type: ignore[arg-type]


def _taken_back(session: ChatSession, otherwise: str) -> ContentLike:
    """The last turn's message; the turn is taken back until the next one replaces it."""
    before = session.snapshot()
    said = session.conversation.undo()
    if said is None:
        raise CommandError(otherwise)
    session.before = before
    return said


def _undo(session: ChatSession, _: str) -> None:
    if session.conversation.undo() is None:
        raise CommandError("There is nothing to undo.")
    session.last = None
    session.save()
    session.say("The last turn is taken back.")


def _clear(session: ChatSession, _: str) -> None:
    old = session.conversation
    session.conversation = session.client.conversation(old.system, **old.params)
    session.last = None
    session.name = sessions.fresh_name()
    session.say("A new conversation.")


def _save(session: ChatSession, name: str) -> None:
    if session.empty:
        raise CommandError("Nothing has been said yet.")
    if name:
        sessions.path_of(name)
        session.name = name
    session.save()
    session.say(f"Saved. Go on any time with: tabbyapi chat --session '{session.name}'")


def _load(session: ChatSession, name: str) -> None:
    if not name:
        known = sessions.names()
        raise CommandError(
            "Conversations: " + ", ".join(known[:20]) if known else "There are none."
        )
    session.resume(name)


def _model(session: ChatSession, name: str) -> None:
    models = session.client.models
    if name:
        session.say(f"Loading {name} ...")
        if not session.watch(Work(lambda: models.load(name), "Loading")):
            raise CommandError("The server goes on loading.")
    session.look_up_model()
    session.say(f"Model: {session.model or '(none is loaded)'}")
    if not name:
        others = [c.id for c in models.list(timeout=PATIENCE) if c.id != session.model]
        session.say("Others: " + ", ".join(others) if others else "There are no others to load.")


def _tokens(session: ChatSession, _: str) -> None:
    if session.empty:
        raise CommandError("Not known before the first answer.")
    tokens, exact = session.tokens_used()
    of = f" of {session.context:,}" if session.context else ""
    text = f"{'' if exact else 'Up to '}{tokens:,} tokens{of}"
    usage = session.last.usage if exact and session.last is not None else None
    if usage:
        cached = usage.cached_tokens
        text += f": {usage.prompt_tokens:,} before the last answer"
        text += f" ({cached:,} of them cached)" if cached else ""
        text += f", {usage.completion_tokens:,} in it"
    session.say(text + ".")


def _copy(session: ChatSession, _: str) -> None:
    last = session.last
    if last is None or not last.text:
        raise CommandError("There is no answer to copy.")
    session.say(put_on_clipboard(last.text, session.write))


def _think(session: ChatSession, how: str) -> None:
    if how in ("show", "fold"):
        session.show_reasoning = how == "show"
        session.say(f"Reasoning will be {'shown' if how == 'show' else 'folded'}.")
        return
    last = session.last
    if last is None or not last.reasoning:
        raise CommandError("The last answer came without reasoning. /think show keeps it unfolded.")
    session.say(last.reasoning.strip())


def _quit(session: ChatSession, _: str) -> None:
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
