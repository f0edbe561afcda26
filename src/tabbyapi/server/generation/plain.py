"""Has the engine answer: most answers are one request to it, which is the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..engine import EngineRefusal, Event, Flow, Native, Timings
from ..grammar.monitor import GrammarMonitor
from .job import Finish, Job, Sink, Step, StopCheck, TextDelta, ending, prompt_read
from .resumed import generate_resumed

__all__ = ["generate"]

_MORE, _WAIT, _ENOUGH = Flow.MORE, Flow.WAIT, Flow.ENOUGH  # an enum's member is slow to look up
_GIVEN_UP = "the constraint became too hard to keep in the middle of the answer: simplify it"


async def generate(native: Native, job: Job, outlet: Sink) -> None:
    """Generate: lists of pieces as they come, then one `Finish`. Cancel it to cancel."""
    if job.generate_resumed:
        await generate_resumed(native, job, outlet)
    else:
        await _plain(native, job, outlet)


async def _plain(native: Native, job: Job, outlet: Sink) -> None:
    prompt = await job.engine_prompt(native)
    payload = job.parameters | {"prompt": prompt, "return_tokens": True}
    grammar = job.parameters.get("grammar")
    monitor = await asyncio.to_thread(GrammarMonitor, grammar) if grammar else None
    await native.follow(payload, _Plain(job, monitor, outlet.put).take, outlet.room)


class _Plain:
    """Turns events into steps."""

    def __init__(
        self, job: Job, monitor: GrammarMonitor | None, put: Callable[[Step], bool]
    ) -> None:
        self.job = job
        self.monitor = monitor
        self.put = put
        self.verdict = StopCheck(job).verdict
        self.read = Timings()

    def take(self, events: list[Event]) -> Flow:
        pieces: list[TextDelta] = []
        end: Finish | None = None
        for event in events:
            if content := event.content:
                if self.monitor is not None and self.monitor.leaves(content):
                    if pieces:
                        self.put(pieces)
                    raise EngineRefusal(_GIVEN_UP, status=400)
                reason = self.verdict(event)
                if reason != "stop_token":
                    pieces.append(TextDelta(content, event.completion_probabilities))
                if reason is not None:
                    end = Finish(reason, None, event.tokens_predicted, self.read)
                    break
            if event.stop:
                end = ending(self.job, event)
                break
            if event.prompt_progress is not None:
                self.read = prompt_read(event.prompt_progress)
        room = self.put(pieces) if pieces else True
        if end is not None:
            self.put(end)
            return _ENOUGH
        return _MORE if room else _WAIT
