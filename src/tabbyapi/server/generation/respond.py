"""Carries out the jobs of a request and answers it, whole or as a stream: for chat and text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp

from ..engine import EngineDied, EngineRefusal
from ..errors import HTTPError, busy, context_refused, error_event, json_answer
from ..http.connection import Outgoing
from ..http.sse import DONE, EventStream, pings, unless_gone
from ..models import LoadedModel
from ..runtime import Runtime
from .choices import usage
from .job import Finish, Job, Sink, Step, TextDelta
from .plain import generate

__all__ = ["Answer", "AnyChoice", "Writer", "answer_stream", "answer_whole"]

log = logging.getLogger("tabbyapi.server")

_Failure = EngineDied | EngineRefusal | HTTPError
Backpressure = Callable[[], Awaitable[None]]


class AnyChoice(Protocol):
    """One of several answers, growing."""

    index: int
    ending: Finish | None

    def feed(self, piece: TextDelta) -> object:
        """Take a piece."""
        ...

    def finish(self, ending: Finish) -> object:
        """Take the end."""
        ...


C = TypeVar("C", bound=AnyChoice)
C_contra = TypeVar("C_contra", bound=AnyChoice, contravariant=True)


class Writer(Protocol[C_contra]):
    """Writes the chunks of a stream: appends them to `out`."""

    def pieces(self, out: list[bytes], choice: C_contra, pieces: list[TextDelta]) -> None:
        """What pieces make certain."""
        ...

    def last(
        self, out: list[bytes], choice: C_contra, ending: Finish, use: dict[str, object] | None
    ) -> None:
        """The end of a choice. `use` is given with the last of all, where usage is wanted."""
        ...


@dataclass(frozen=True)
class Answer(Generic[C]):
    """A request made ready. `label` is how failures name it: "Chat completion"."""

    runtime: Runtime
    loaded: LoadedModel
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
    admission = answer.runtime.admission
    admission.enter()
    try:
        await unless_gone(request.receive, _generate_all(answer, _Whole(answer), _always_room))
        return json_answer(body())
    finally:
        admission.leave()


def answer_stream(answer: Answer[C], writer: Writer[C]) -> ASGIApp:
    """Answer with a stream of what is generated as it comes."""

    async def produce(outgoing: Outgoing) -> bytes:
        stream = _Stream(answer, writer, outgoing)
        with pings(outgoing, answer.runtime.settings.ping_interval), suppress(_Failed):
            await _generate_all(answer, stream, outgoing.room)
        return stream.last

    admission = answer.runtime.admission
    admission.enter()
    return EventStream(produce, on_close=admission.leave)


# --------------------------------------------------------------------- where steps go


class _StepTarget(Protocol):
    """Takes the steps of all choices. `fail` may raise, which ends them all."""

    def take(self, index: int, step: Step) -> bool:
        """The next step of a choice. Returns whether there is room for more."""
        ...

    def fail(self, index: int, error: _Failure) -> None:
        """A choice that has come to nothing."""
        ...


class _Whole(Generic[C]):
    """Gathers."""

    def __init__(self, answer: Answer[C]) -> None:
        self._answer = answer

    def take(self, index: int, step: Step) -> bool:
        choice = self._answer.choices[index]
        if isinstance(step, Finish):
            choice.finish(step)
        else:
            for piece in step:
                choice.feed(piece)
        return True

    def fail(self, index: int, error: _Failure) -> None:
        choice = self._answer.choices[index]
        if not self._answer.loaded.unloaded or choice.ending is not None:
            _report(self._answer, error)
            raise _aborted(self._answer, error)
        # Unloading ends an answer where it is; that it has no reason tells of it.
        choice.finish(Finish(None, None, 0))


async def _always_room() -> None:
    pass


class _Failed(Exception):
    """One of the choices failed, which the stream has been told."""


class _Stream(Generic[C]):
    """Writes, in the very call that brings the step: a token costs no task switch.

    `last` is what goes out with the end of the answer.
    """

    def __init__(self, answer: Answer[C], writer: Writer[C], outgoing: Outgoing) -> None:
        self.last = b""
        self._answer = answer
        self._writer = writer
        self._put = outgoing.put
        self._remaining = len(answer.choices)

    def take(self, index: int, step: Step) -> bool:
        choice = self._answer.choices[index]
        out: list[bytes] = []
        if not isinstance(step, Finish):
            self._writer.pieces(out, choice, step)
            return self._put(b"".join(out)) if out else True
        self._remaining -= 1
        choice.ending = step
        use = None if self._remaining else self._answer.usage()
        self._writer.last(out, choice, step, use)
        if self._remaining:
            return self._put(b"".join(out))
        self.last = b"".join([*out, DONE])
        return True

    def fail(self, index: int, error: _Failure) -> None:
        if not self._answer.loaded.unloaded:
            _report(self._answer, error)
        self.last = _failure(self._answer, error)
        raise _Failed


# -------------------------------------------------------------------------- generation


async def _generate_all(answer: Answer[C], taker: _StepTarget, room: Backpressure) -> None:
    """All choices at once; where one fails for good, the others are ended."""
    works = [_generate_one(answer, k, taker, room) for k in range(len(answer.jobs))]
    if len(works) == 1:
        await works[0]
        return
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _generate_one(
    answer: Answer[C], index: int, taker: _StepTarget, room: Backpressure
) -> None:
    try:
        async with answer.runtime.admission.slot:
            await _generate(answer, index, taker, room)
    except (EngineDied, EngineRefusal, HTTPError) as error:
        taker.fail(index, error)
    except Exception as error:
        # A fault of ours: the client must not wait for ever for what will never come.
        log.exception("generation failed")
        taker.fail(index, EngineRefusal(f"internal error ({type(error).__name__})"))


async def _generate(answer: Answer[C], index: int, taker: _StepTarget, room: Backpressure) -> None:
    begun, dead = False, None

    def put(step: Step) -> bool:
        nonlocal begun
        begun = True
        return taker.take(index, step)

    outlet = Sink(put, room)
    while True:
        native = await answer.loaded.native(after=dead)
        try:
            await generate(native, answer.jobs[index], outlet)
            return
        except EngineDied as error:
            # One that died a moment ago has seen nothing of it: its successor is asked.
            if begun or dead is not None or not error.unreached:
                raise
            dead = native


# ---------------------------------------------------------------------------- failures


def _aborted(answer: Answer[C], error: _Failure) -> HTTPError:
    """The answer to a generation that failed."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, EngineRefusal) and error.overflow:
        return context_refused(str(error))
    if isinstance(error, EngineRefusal) and error.crowded:
        reason = _reason(answer, error)
        return context_refused(reason) if len(answer.jobs) > 1 else busy(reason)
    if isinstance(error, EngineRefusal) and error.status == 400:
        return HTTPError(400, f"The engine refused the request: {error}")
    return HTTPError(503, f"{answer.label} {answer.id} aborted. {_reason(answer, error)}")


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
    if isinstance(error, HTTPError):
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
