"""The conversation itself: read a turn, show the answer, and again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.input import create_input

from ...conversation.tool_turn import runs_tools
from ...errors import ModelNotLoadedError, TabbyError, ValidationError
from ...types.messages import ContentLike
from .. import sessions
from ..errors import explain
from ..inputs import well_formed
from ..output import warn
from .answer import ToolTurn, Turn, describe_end, follow
from .commands import CommandError, Leave, perform
from .keyboard import Keyboard
from .prompt import make_prompt
from .session import PATIENCE, ChatSession

if TYPE_CHECKING:
    from ..._client.sync import Client

__all__ = ["talk"]


def talk(
    client: Client,
    system: str | None,
    params: dict[str, Any],
    *,
    resume: bool = False,
    name: str | None = None,
    allow_tools: bool = False,
) -> None:
    """Talk until Ctrl-D, /quit, or Ctrl-C twice at an empty prompt.

    Args:
        system: instructions for the model.
        params: parameters of every turn.
        resume: go on with the last conversation, or with that called `name`.
        name: begin or go on with this conversation.
        allow_tools: make calls of tools without asking.

    Raises:
        ValidationError: `name` is no name for a conversation, or there is none to resume.
    """
    if resume and name is None:
        name = sessions.latest()
        if name is None:
            raise ValidationError("there is no conversation to go on with yet", field="continue")
    session = ChatSession(
        client,
        client.conversation(system, **params),
        name or sessions.fresh_name(),
        Keyboard(create_input()),
        flags=params,
        allow_tools=allow_tools,
    )
    if name is not None and (resume or sessions.path_of(name).exists()):
        session.resume(name)
        if system:
            session.conversation.system = system
    prompt = make_prompt(session)
    with session.keyboard.raw():
        _greet(session)
        _turns(session, prompt)


def _greet(session: ChatSession) -> None:
    url = session.client.base_url
    try:
        session.look_up_model()
    except TabbyError as error:
        session.say(f"{url} does not say which model is loaded: {error}")
    else:
        session.say(f"{session.model or 'No model is loaded'} at {url}")
    session.say("Enter sends, Alt-Enter breaks the line, Ctrl-C stops an answer. More: /help")


def _turns(session: ChatSession, prompt: PromptSession[str]) -> None:
    leaving = False
    while True:
        draft, session.draft = session.draft, ""
        try:
            text = well_formed(prompt.prompt(default=draft)).strip()
            leaving = False
            _react(session, text)
        except KeyboardInterrupt:
            if session.before is not None:
                _cancel_edit(session)
                continue
            if leaving:
                return
            leaving = True
            session.say("Ctrl-C again, or Ctrl-D, leaves.")
        except (EOFError, Leave):
            return


def _cancel_edit(session: ChatSession) -> None:
    if session.before is not None:
        session.restore(session.before)
        session.before = None
        session.say("The message stays as it was.")


def _react(session: ChatSession, text: str) -> None:
    """Do what a line asks for: a command, or a turn."""
    offered, session.offered = session.offered, []
    command = None
    if text.startswith("/") and not text.startswith("//"):
        command = text[1:]
    elif text.isdecimal() and 0 < int(text) <= len(offered):
        command = f"model {offered[int(text) - 1]}"
    if command is not None or not text:
        _cancel_edit(session)
    try:
        if command is not None:
            say = perform(session, command)
            if say is not None:
                _answer(session, say)
        elif text:
            text = text.removeprefix("/") if text.startswith("//") else text
            pending = session.pending
            _answer(session, [text, *pending] if pending else text, typed=True)
    except CommandError as refusal:
        session.say(str(refusal))
    except (TabbyError, OSError) as error:
        warn(f"Error: {explain(error)}")
        if isinstance(error, ModelNotLoadedError):
            _offer_models(session)


def _offer_models(session: ChatSession) -> None:
    """List the models that could answer; a number at the next prompt loads one."""
    try:
        session.offered = [card.id for card in session.client.models.list(timeout=PATIENCE)]
    except TabbyError as error:
        warn(f"The server's models cannot be listed: {explain(error)}")
        return
    for number, name in enumerate(session.offered, 1):
        session.say(f"  {number}  {name}")
    if session.offered:
        session.say("Its number loads a model (admin key); the arrow up brings your message back.")
    else:
        session.say("The server has no models at all.")


def _answer(session: ChatSession, content: ContentLike, *, typed: bool = False) -> None:
    """Send a turn and show the answer; Ctrl-C stops it and keeps what came.

    If nothing came, everything is as it was before the turn.
    """
    sent = typed and session.before is None  # what was pending is part of this turn
    before = session.before or session.snapshot()
    session.before = None
    conversation, messages = session.conversation, len(session.conversation)
    turn: Turn | ToolTurn
    if runs_tools(conversation.params):
        turn = ToolTurn(conversation, content, ask=not session.allow_tools)
    else:
        turn = Turn(conversation, content)
    view = session.view()
    stopped, failed = False, True
    try:
        with session.keyboard.listening():
            stopped = not follow(turn, view, session.keyboard)
        failed = False
    finally:
        kept = turn.response if len(conversation) > messages else None
        view.finish("" if failed else describe_end(kept, stopped=stopped))
        if kept is None:
            session.restore(before)
        else:
            session.last, session.pending = kept, [] if sent else list(before.pending)
            session.save()
    if kept is not None and not stopped:
        with contextlib.suppress(TabbyError):
            session.look_up_model(kept.model)
    session.write("\n")
