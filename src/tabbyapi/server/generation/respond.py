"""Carries out the jobs of a request and answers it, whole or as a stream: for chat and text.

Each job is a `Generation`. It waits for a slot and for its share of the context, and is put back to
wait again when older answers need the room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp

from ..engine import EngineDied, EngineRefusal, Native
from ..errors import HTTPError, busy, context_refused, error_event, json_answer
from ..http.access_log import count_tokens
from ..http.sse import DONE, AnyOutgoing, EventStream, pings, unless_gone
from ..metrics import AnswerMeter
from ..models import LoadedModel
from ..runtime import Runtime
from .choices import usage
from .generate import Generation
from .job import Finish, Job, Sink, Step, TextDelta

__all__ = ["Answer", "AnyChoice", "Writer", "answer_stream", "answer_whole"]

log = logging.getLogger("tabbyapi.server")

_FIRST_PART = 8  # an answer begins with this part of the context at most, beside its prompt
_GROWTH_STEPS = 32  # it grows by this part
_MOST_AVOIDED = 30  # after that the grammar wants the banned string, which is then let be
_IMAGE_TOKENS = 600  # a guess, until the engine has counted them

_Failure = EngineDied | EngineRefusal | HTTPError
Drain = Callable[[], Awaitable[None]]


class AnyChoice(Protocol):
    """One of several answers, growing. `end` is set once it is complete."""

    index: int
    end: Finish | None

    def feed(self, delta: TextDelta) -> object:
        """Take the next text."""
        ...

    def finish(self, end: Finish) -> object:
        """Take the end."""
        ...


C = TypeVar("C", bound=AnyChoice)
C_contra = TypeVar("C_contra", bound=AnyChoice, contravariant=True)


class Writer(Protocol[C_contra]):
    """Writes the chunks of a stream: appends them to `out`."""

    def deltas(self, out: list[bytes], choice: C_contra, deltas: list[TextDelta]) -> None:
        """Text of a choice."""
        ...

    def last(
        self, out: list[bytes], choice: C_contra, end: Finish, use: dict[str, object] | None
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

    @property
    def parity(self) -> bool:
        """True if the answer is to be exactly as TabbyAPI's."""
        return self.runtime.settings.parity

    def usage(self) -> dict[str, object] | None:
        """Tokens and times, where they are wanted and known."""
        ends = [choice.end for choice in self.choices if choice.end is not None]
        if self.parity and not self.wants_usage:
            return None
        if any(end.eos_reason is None for end in ends):
            return None
        prompt_tokens = len(self.jobs[0].prompt) or ends[0].prompt_tokens
        return usage(prompt_tokens, ends, parity=self.parity)


async def answer_whole(
    request: Request, answer: Answer[C], body: Callable[[], dict[str, object]]
) -> ASGIApp:
    """Generate everything, then answer with what `body` makes of it."""
    admission = answer.runtime.admission
    admission.enter()
    try:
        await unless_gone(request.receive, _generate_all(answer, _Whole(answer), _never_wait))
        return json_answer(body())
    finally:
        admission.leave()


def answer_stream(answer: Answer[C], writer: Writer[C]) -> ASGIApp:
    """Answer with a stream of what is generated as it comes."""

    async def produce(outgoing: AnyOutgoing) -> bytes:
        stream = _Stream(answer, writer, outgoing)
        with pings(outgoing, answer.runtime.settings.ping_interval), suppress(_Failed):
            await _generate_all(answer, stream, outgoing.drain)
        return stream.last

    admission = answer.runtime.admission
    admission.enter()
    return EventStream(produce, on_close=admission.leave)


# --------------------------------------------------------------------- where steps go


class _StepTarget(Protocol):
    """Takes the steps of all choices. `fail` may raise, which ends them all.

    `streams` is True if a step that was taken cannot be taken back.
    """

    streams: bool

    def take(self, index: int, step: Step) -> bool:
        """The next step of a choice. Returns False if the client reads too slowly."""
        ...

    def fail(self, index: int, error: _Failure) -> None:
        """The failure of a choice."""
        ...


class _Whole(Generic[C]):
    """Gathers the steps in the choices."""

    streams = False

    def __init__(self, answer: Answer[C]) -> None:
        self._answer = answer

    def take(self, index: int, step: Step) -> bool:
        choice = self._answer.choices[index]
        if isinstance(step, Finish):
            choice.finish(step)
        else:
            for delta in step:
                choice.feed(delta)
        return True

    def fail(self, index: int, error: _Failure) -> None:
        choice = self._answer.choices[index]
        if not self._answer.loaded.unloaded or choice.end is not None:
            _report(self._answer, error)
            raise _aborted(self._answer, error)
        # Unloading ends an answer where it is; a finish without a reason says so.
        choice.finish(Finish(None, None, 0))


async def _never_wait() -> None:
    pass


class _Failed(Exception):
    """One of the choices failed, and the stream ends with the reason."""


class _Stream(Generic[C]):
    """Writes in the call that brings the step: a token costs no task switch.

    `last` is what goes out with the end of the answer.
    """

    streams = True

    def __init__(self, answer: Answer[C], writer: Writer[C], outgoing: AnyOutgoing) -> None:
        self.last = b""
        self._answer = answer
        self._writer = writer
        self._put = outgoing.put
        self._remaining = len(answer.choices)

    def take(self, index: int, step: Step) -> bool:
        choice = self._answer.choices[index]
        out: list[bytes] = []
        if not isinstance(step, Finish):
            self._writer.deltas(out, choice, step)
            return self._put(b"".join(out)) if out else True
        self._remaining -= 1
        choice.end = step
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


async def _generate_all(answer: Answer[C], target: _StepTarget, drain: Drain) -> None:
    """All choices at once; where one fails for good, the others are ended."""
    works = [_generate_one(answer, k, target, drain) for k in range(len(answer.jobs))]
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


async def _generate_one(answer: Answer[C], index: int, target: _StepTarget, drain: Drain) -> None:
    try:
        await _Run(answer, index, target, drain).until_finished()
    except (EngineDied, EngineRefusal, HTTPError) as error:
        target.fail(index, error)
    except Exception as error:
        # A fault of ours: without this the client would wait for an answer that never comes.
        log.exception("generation failed")
        target.fail(index, EngineRefusal(f"internal error ({type(error).__name__})"))


class _Run:
    """Runs one job: in a slot, within a share of the context, on an engine that may be restarted.

    A constrained answer cannot go on where it was, but begin again as long as nothing of it has
    been sent: its steps are kept until it is finished.
    """

    def __init__(self, answer: Answer[C], index: int, target: _StepTarget, drain: Drain) -> None:
        self._loaded = answer.loaded
        self._avoided = 0
        self._slot = answer.runtime.admission.slot
        self._meter = AnswerMeter(answer.runtime.metrics)
        self._job = answer.jobs[index]
        self._put = partial(target.take, index)
        self._drain = drain
        job, pool = self._job, answer.loaded.context
        keeps = job.constrained and (bool(job.banned) or not target.streams)
        self._kept: list[Step] | None = [] if keeps else None
        self._generation = self._begin()
        stays = job.constrained and not keeps
        self._share = pool.share(None if stays else self._put_back, grows=not job.max_tokens)
        self._most = pool.size
        self._step = max(16, pool.size // _GROWTH_STEPS)

    def _begin(self) -> Generation:
        sink = Sink(self._keep if self._kept is not None else self._count, self._drain)
        return Generation(self._job, sink)

    def _avoid(self, token: int | None) -> None:
        """Begin a constrained answer again without this token, which began a banned string."""
        if token is None:
            return
        parameters = self._job.parameters
        bias = [*parameters.get("logit_bias", []), [token, False]]
        self._avoided += 1
        self._job = replace(
            self._job,
            parameters=parameters | {"logit_bias": bias},
            banned=self._job.banned if self._avoided < _MOST_AVOIDED else (),
        )

    def _put_back(self) -> None:
        self._generation.put_back()

    def _keep(self, step: Step) -> bool:
        assert self._kept is not None
        self._meter.got_token()
        self._kept.append(step)
        self._grow()
        return True

    def _count(self, step: Step) -> bool:
        self._meter.got_token()
        self._grow()
        return self._put(step)

    def _grow(self) -> None:
        """Ask for more context in time, before the tokens need it."""
        if (grown := self._generation.grown + self._step // 2) > self._share.tokens:
            self._share.grow(grown + self._step)

    def _needed(self) -> int:
        """Tokens to hold for what is generated next."""
        grown = self._generation.grown
        if (images := self._job.multimodal) is not None and not self._generation.begun:
            grown = len(images.text) // 3 + len(images.images) * _IMAGE_TOKENS
        limit = self._job.max_tokens or self._step
        if not self._share.fixed:
            limit = min(limit, self._most // _FIRST_PART)  # most answers end before max_tokens
        return grown + limit

    async def until_finished(self) -> None:
        try:
            await self._generate()
        finally:
            end = self._generation.finish
            self._meter.ends(*((end.tokens, end.timings) if end is not None else ()))

    async def _generate(self) -> None:
        dead: Native | None = None
        crowded = False
        while True:
            async with self._slot:
                try:
                    await self._share.hold(self._most if crowded else self._needed())
                    self._meter.runs()
                    native = await self._loaded.native(after=dead)
                    await self._generation.follow(native)
                except EngineDied as error:
                    # One that was dead before has not seen the request: its successor is asked.
                    if self._generation.begun or dead is not None or not error.unreached:
                        raise
                    dead = native
                    continue
                except EngineRefusal as error:
                    # The engine counts otherwise than we do: once more, with nothing beside it.
                    if not error.crowded or crowded or self._share.fixed:
                        raise
                    crowded = True
                finally:
                    self._meter.waits()
                    self._share.free()
            if self._generation.finish is not None:
                break
            if self._kept is not None:
                self._kept.clear()
                self._avoid(self._generation.banned_token)
                self._generation = self._begin()
        count_tokens(self._generation.finish.tokens)
        for step in self._kept or ():
            self._put(step)


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
    message = f"{answer.label} aborted. {_reason(answer, error)}"
    return error_event(message, parity=answer.parity)


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
