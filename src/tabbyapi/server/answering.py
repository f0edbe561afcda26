"""Carries out the jobs of a request and answers it, whole or as a stream: for chat and text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp

from .answers import Refused, busy, context_refused, error_event, json_answer
from .choices import usage
from .engine import EngineDied, EngineRefusal
from .generation import generate
from .mailbox import Mailbox
from .runtime import Loaded, Runtime
from .sse import DONE, EventStream, ping, unless_gone
from .work import Ending, Job, Outlet, Piece, Step

__all__ = ["Answer", "AnyChoice", "Writer", "answer_stream", "answer_whole"]

log = logging.getLogger("tabbyapi.server")

_PING = "ping"
_Failure = EngineDied | EngineRefusal | Refused
_Mail = tuple[int, Step | _Failure] | str


class AnyChoice(Protocol):
    """One of several answers, growing."""

    index: int
    ending: Ending | None

    def feed(self, piece: Piece) -> object:
        """Take a piece."""
        ...

    def finish(self, ending: Ending) -> object:
        """Take the end."""
        ...


C = TypeVar("C", bound=AnyChoice)
C_contra = TypeVar("C_contra", bound=AnyChoice, contravariant=True)


class Writer(Protocol[C_contra]):
    """Writes the chunks of a stream: appends them to `out`."""

    def pieces(self, out: list[bytes], choice: C_contra, pieces: list[Piece]) -> None:
        """What pieces make certain."""
        ...

    def last(
        self, out: list[bytes], choice: C_contra, ending: Ending, use: dict[str, object] | None
    ) -> None:
        """The end of a choice. `use` is given with the last of all, where usage is wanted."""
        ...


@dataclass(frozen=True)
class Answer(Generic[C]):
    """A request made ready. `label` is how failures name it: "Chat completion"."""

    runtime: Runtime
    loaded: Loaded
    label: str
    jobs: list[Job]
    choices: list[C]
    wants_usage: bool
    id: str

    def usage(self) -> dict[str, object] | None:
        """Tokens and times, where they are wanted and known."""
        endings = [choice.ending for choice in self.choices if choice.ending is not None]
        if not self.wants_usage or any(ending.eos_reason is None for ending in endings):
            return None
        return usage(len(self.jobs[0].prompt) or endings[0].prompt_tokens, endings)


async def answer_whole(
    request: Request, answer: Answer[C], body: Callable[[], dict[str, object]]
) -> ASGIApp:
    """Generate everything, then answer with what `body` makes of it."""
    gate = answer.runtime.gate
    gate.enter()
    try:
        await unless_gone(request.receive, _whole(answer))
        return json_answer(body())
    finally:
        gate.leave()


def answer_stream(answer: Answer[C], writer: Writer[C]) -> ASGIApp:
    """Answer with a stream of what is generated as it comes."""
    gate = answer.runtime.gate
    gate.enter()
    return EventStream(_stream(answer, writer), on_close=gate.leave)


# -------------------------------------------------------------------------- generation


async def _pump(answer: Answer[C], index: int, mailbox: Mailbox[_Mail]) -> None:
    """Generate one choice into the mailbox."""
    try:
        async with answer.runtime.gate.slot:
            await _generate(answer, index, mailbox)
    except (EngineDied, EngineRefusal, Refused) as error:
        mailbox.put((index, error))
    except Exception as error:
        # A fault of ours: the client must not wait for ever for what this task will never send.
        log.exception("generation failed")
        mailbox.put((index, EngineRefusal(f"internal error ({type(error).__name__})")))


async def _generate(answer: Answer[C], index: int, mailbox: Mailbox[_Mail]) -> None:
    begun, dead = False, None

    def put(step: Step) -> bool:
        nonlocal begun
        begun = True
        return mailbox.put((index, step))

    outlet = Outlet(put, mailbox.room)
    while True:
        native = await answer.runtime.native(answer.loaded, after=dead)
        try:
            await generate(native, answer.jobs[index], outlet)
            return
        except EngineDied as error:
            # One that died a moment ago has seen nothing of it: its successor is asked.
            if begun or dead is not None or not error.unreached:
                raise
            dead = native


async def _mail(answer: Answer[C], ping_interval: float = 0.0) -> AsyncGenerator[list[_Mail], None]:
    """Everything the choices generate, with pings between."""
    mailbox: Mailbox[_Mail] = Mailbox()
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal timer
        mailbox.put(_PING)
        timer = loop.call_later(ping_interval, tick)

    if ping_interval > 0:
        timer = loop.call_later(ping_interval, tick)
    pumps = [asyncio.create_task(_pump(answer, k, mailbox)) for k in range(len(answer.jobs))]
    try:
        while True:
            yield await mailbox.take()
    finally:
        if timer is not None:
            timer.cancel()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _whole(answer: Answer[C]) -> None:
    remaining = len(answer.choices)
    async with aclosing(_mail(answer)) as batches:
        async for batch in batches:
            for mail in batch:
                assert not isinstance(mail, str)
                index, step = mail
                choice = answer.choices[index]
                if isinstance(step, list):
                    for piece in step:
                        choice.feed(piece)
                elif isinstance(step, Ending):
                    choice.finish(step)
                    remaining -= 1
                elif answer.loaded.unloaded and choice.ending is None:
                    # Unloading ends an answer where it is; that it has no reason tells of it.
                    choice.finish(Ending(None, None, 0))
                    remaining -= 1
                else:
                    _report(answer, step)
                    raise _aborted(answer, step)
            if not remaining:
                return


async def _stream(answer: Answer[C], writer: Writer[C]) -> AsyncGenerator[bytes, None]:
    remaining = len(answer.choices)
    async with aclosing(_mail(answer, answer.runtime.settings.ping_interval)) as batches:
        async for batch in batches:
            out: list[bytes] = []
            for mail in batch:
                if isinstance(mail, str):
                    out.append(ping())
                    continue
                index, step = mail
                choice = answer.choices[index]
                if isinstance(step, list):
                    writer.pieces(out, choice, step)
                elif isinstance(step, Ending):
                    remaining -= 1
                    choice.ending = step
                    writer.last(out, choice, step, None if remaining else answer.usage())
                else:
                    if not answer.loaded.unloaded:
                        _report(answer, step)
                    out.append(_failure(answer, step))
                    yield b"".join(out)
                    return
            if not remaining:
                out.append(DONE)
            if out:
                yield b"".join(out)
            if not remaining:
                return


# ---------------------------------------------------------------------------- failures


def _aborted(answer: Answer[C], error: _Failure) -> Refused:
    """The answer to a generation that failed."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, EngineRefusal) and error.overflow:
        return context_refused(str(error))
    if isinstance(error, EngineRefusal) and error.crowded:
        reason = _reason(answer, error)
        return context_refused(reason) if len(answer.jobs) > 1 else busy(reason)
    if isinstance(error, EngineRefusal) and error.status == 400:
        return Refused(400, f"The engine refused the request: {error}")
    return Refused(503, f"{answer.label} {answer.id} aborted. {_reason(answer, error)}")


def _failure(answer: Answer[C], error: _Failure) -> bytes:
    if isinstance(error, EngineRefusal) and error.overflow:
        return error_event(str(error), overflow=True)
    if isinstance(error, EngineRefusal) and error.crowded and len(answer.jobs) > 1:
        return error_event(_reason(answer, error), overflow=True)
    return error_event(f"{answer.label} aborted. {_reason(answer, error)}")


def _report(answer: Answer[C], error: _Failure) -> None:
    """Note a failure that is the server's, not the request's."""
    if not (isinstance(error, EngineRefusal) and (error.status == 400 or error.crowded)):
        answer.runtime.report(f"{answer.label} {answer.id}: {_reason(answer, error)}")


def _reason(answer: Answer[C], error: _Failure) -> str:
    if answer.loaded.unloaded:
        return "The model was unloaded."
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, EngineRefusal) and error.status == 400:
        return f"The engine refused the request: {error}"
    if isinstance(error, EngineDied):
        return "The engine stopped while answering; it is restarted, so send the request again."
    if error.crowded:
        return (
            f"the answers that run at the same time share a context of {answer.loaded.n_ctx} "
            f"tokens, and have filled it"
        )
    return f"The engine failed: {error}"
