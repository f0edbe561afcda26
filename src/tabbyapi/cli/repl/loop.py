"""The conversation itself: read a turn, show the answer, and again."""

from __future__ import annotations

from prompt_toolkit import PromptSession

from ...errors import ModelNotLoadedError, TabbyError, ValidationError
from ...types.messages import ContentLike
from .. import sessions
from ..dialogue import Dialogue
from ..errors import explain, warn
from .answer import describe_end, follow
from .commands import CommandError, Leave, perform
from .keyboard import quiet, typed_ahead
from .prompt import make_prompt
from .session import ChatSession

__all__ = ["talk"]


def talk(dialogue: Dialogue, *, resume: bool = False, session: str | None = None) -> None:
    """Talks until Ctrl-D, /quit, or Ctrl-C twice at an empty prompt.

    Raises:
        ValidationError: `session` is no name for a conversation, or there is none to resume.
    """
    room = _room(dialogue, resume=resume, session=session)
    prompt = make_prompt(room)
    with typed_ahead():
        _turns(room, prompt)


def _turns(room: ChatSession, prompt: PromptSession[str]) -> None:
    room.say("Enter sends, Alt-Enter breaks the line, Ctrl-C stops an answer, /help says the rest.")
    leaving = False
    while True:
        draft, room.draft = room.draft, ""
        try:
            text = prompt.prompt(default=draft).strip()
            leaving = False
            _react(room, text)
        except KeyboardInterrupt:
            if room.before_edit is not None:
                room.cancel_edit()
                continue
            if leaving:
                return
            leaving = True
            room.say("Ctrl-C again, or Ctrl-D, leaves.")
        except (EOFError, Leave):
            return


def _room(dialogue: Dialogue, *, resume: bool, session: str | None) -> ChatSession:
    if resume and session is None:
        session = sessions.latest()
        if session is None:
            raise ValidationError("there is no conversation to go on with yet", field="continue")
    room = ChatSession(dialogue, session or sessions.fresh_name(), flags=dict(dialogue.params))
    if session is not None and (resume or sessions.path_of(session).exists()):
        given = dialogue.instructions
        room.resume(session)
        if given:  # said on the command line just now
            dialogue.instructions = given
    return room


def _react(room: ChatSession, text: str) -> None:
    """Does what a line asks for: a command, or a turn."""
    say: ContentLike | None = text
    if not text or (text.startswith("/") and not text.startswith("//")):
        room.cancel_edit()
    room.before_edit = None
    offered, room.offered = room.offered, []
    try:
        if text.isdecimal() and 0 < int(text) <= len(offered):
            say = perform(room, f"model {offered[int(text) - 1]}")
        elif text.startswith("/") and not text.startswith("//"):
            say = perform(room, text[1:])
        elif text.startswith("//"):
            say = text[1:]  # a turn that begins with a slash
        if say and room.pending and isinstance(say, str):
            say, room.pending = [say, *room.pending], []
        if say:
            _answer(room, say)
    except CommandError as refusal:
        room.say(str(refusal))
    except ModelNotLoadedError as error:
        warn(f"Error: {explain(error)}")
        _offer_models(room)
    except (TabbyError, OSError) as error:
        warn(f"Error: {explain(error)}")


def _offer_models(room: ChatSession) -> None:
    """Lists the models that could answer; a number at the next prompt loads one."""
    try:
        room.offered = [card.id for card in room.dialogue.client.models.list()]
    except TabbyError as error:
        warn(f"The server's models cannot be listed: {explain(error)}")
        return
    for number, name in enumerate(room.offered, 1):
        room.say(f"  {number}  {name}")
    if room.offered:
        room.say("Its number loads a model (admin key); the arrow up brings your message back.")
    else:
        room.say("The server has no models at all.")


def _answer(room: ChatSession, content: ContentLike) -> None:
    """Sends a turn and shows the answer; Ctrl-C stops it and keeps what came."""
    before = len(room.dialogue.messages)
    view = room.view()
    stopped = False
    with quiet():
        try:
            with room.dialogue.turn(content) as stream:
                try:
                    stopped = not follow(stream, stream.close, view)
                except TabbyError:
                    view.finish()
                    raise
        except KeyboardInterrupt:  # before the answer began
            stopped = True
        kept = room.dialogue.last if len(room.dialogue.messages) > before else None
        view.finish(describe_end(kept, stopped=stopped))
    if kept is not None:
        room.model = kept.model or room.model
        room.save()
        if not stopped:
            room.look_at_model()
    room.write("\n")
