"""An answer that takes several requests: banned strings, a least length, a reasoning budget.

The engine is stopped, the prompt is extended by the text so far, and generation goes on under
other conditions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ..engine import Event, Native, Timings
from .job import Budget, Finish, Job, Sink, StopCheck, TextDelta, ending, prompt_read
from .reasoning import ReasoningSplitter, held_back

__all__ = ["generate_resumed"]

_MOST_REWINDS = 100
_MOST_BANS_AT_ONE_PLACE = 20


class _ResumedState:
    """State of an answer that takes several requests to the engine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.text = ""  # all that was decided, in other words sent
        self.held: list[Event] = []  # may become part of a banned string
        self.tokens = 0
        self.timings = Timings()
        self.rewinds = 0
        self.bans: defaultdict[int, list[int]] = defaultdict(list)  # position in text -> tokens
        self.budget = job.budget
        self.splitter: ReasoningSplitter | None = None
        if (budget := job.budget) is not None:
            self.splitter = ReasoningSplitter(
                budget.start, budget.end, reasoning=budget.begins_inside
            )
        self.reasoned = 0

    @property
    def held_text(self) -> str:
        """Text that was generated but is not decided."""
        return "".join(event.content for event in self.held)

    def conditions(self) -> dict[str, Any]:
        """Parameters of the next request."""
        given = self.job.parameters
        limit, done = given["n_predict"], self.tokens + len(self.held)
        changed: dict[str, Any] = {"return_tokens": True}
        if limit > 0:
            changed["n_predict"] = max(1, limit - done)
        if bans := self.bans.get(len(self.text) + len(self.held_text)):
            changed["n_predict"] = 1
            changed["logit_bias"] = [*given.get("logit_bias", []), *([t, False] for t in bans)]
        elif done < self.job.min_tokens:
            changed["n_predict"] = self.job.min_tokens - done
        if done < self.job.min_tokens:
            changed["ignore_eos"] = True
        return given | changed

    def release(self, count: int) -> list[TextDelta]:
        """Decide the first `count` held events."""
        out, self.held = self.held[:count], self.held[count:]
        pieces = [TextDelta(e.content, e.completion_probabilities) for e in out if e.content]
        for event in out:
            self.text += event.content
            self.tokens += max(1, len(event.tokens))
            if self.splitter is not None:
                inside = self.splitter.reasoning
                self.splitter.feed(event.content)
                self.reasoned += inside and self.splitter.reasoning
        return pieces

    @property
    def _tail(self) -> str:
        """The end of the decided text, in which a banned string may begin."""
        longest = max((len(b) for b in self.job.banned), default=1)
        return self.text[len(self.text) - min(len(self.text), longest - 1) :].lower()

    def banned_at(self) -> int | None:
        """Index of the first held event that is part of a banned string."""
        tail = self._tail
        text = tail + self.held_text.lower()
        places = [at for b in self.job.banned if (at := text.find(b.lower())) >= 0]
        if not places:
            return None
        end = len(tail)
        for index, event in enumerate(self.held):
            end += len(event.content)
            if end > min(places):
                return index
        return None

    def safe(self) -> int:
        """How many held events can no longer be part of a banned string."""
        tail = self._tail
        text = tail + self.held_text.lower()
        keep = max((held_back(text, b.lower()) for b in self.job.banned), default=0)
        free, end = len(text) - keep, len(tail)
        for index, event in enumerate(self.held):
            end += len(event.content)
            if end > free:
                return index
        return len(self.held)

    def rewind(self, index: int) -> bool:
        """Go back to before held event `index`; False if that was tried too often."""
        position = len(self.text) + sum(len(e.content) for e in self.held[:index])
        bans = self.bans[position]
        if self.rewinds >= _MOST_REWINDS or len(bans) >= _MOST_BANS_AT_ONE_PLACE:
            return False
        self.rewinds += 1
        bans += [token for token in self.held[index].tokens if token not in bans]
        return True


async def generate_resumed(native: Native, job: Job, outlet: Sink) -> None:
    """Generate with several requests to the engine."""
    state = _ResumedState(job)
    watch = StopCheck(job)
    given_up = False
    prompt = await job.engine_prompt(native)
    while True:
        again: Event | None = None
        cut: str | None = None
        payload = state.conditions() | {"prompt": prompt}
        async with aclosing(native.complete(payload)) as batches:
            async for event in _flat(batches):
                if event.prompt_progress is not None:
                    if not state.timings.prompt_n:
                        state.timings = prompt_read(event.prompt_progress)
                    continue
                if event.stop:
                    again = event
                    break
                state.held.append(event)
                cut = watch.verdict(event)
                if cut == "stop_token":
                    state.held.pop()
                if cut:
                    break
                at = None if given_up else state.banned_at()
                if at is not None:
                    if state.rewind(at):
                        # What is left may still begin a banned string with what comes next.
                        del state.held[at:]
                        if pieces := state.release(state.safe()):
                            await outlet.give(pieces)
                        break
                    given_up = True
                if pieces := state.release(len(state.held) if given_up else state.safe()):
                    await outlet.give(pieces)
                budget = state.budget
                if budget is not None and _over(state, budget):
                    forced = budget.message + budget.end
                    state.text += forced
                    state.budget = None
                    state.held.clear()
                    await outlet.give([TextDelta(forced)])
                    break
        if again is not None and again.timings is not None:
            _add(state.timings, again.timings)
        if cut or (again is not None and _final(state, again, payload)):
            if pieces := state.release(len(state.held)):
                await outlet.give(pieces)
            if cut:
                await outlet.give(Finish(cut, None, state.tokens, state.timings))
                return
            assert again is not None
            final = ending(job, again)
            final.tokens, final.timings = state.tokens, state.timings
            await outlet.give(final)
            return
        prompt = await job.engine_prompt(native, state.text + state.held_text)


def _final(state: _ResumedState, event: Event, payload: dict[str, Any]) -> bool:
    """Whether the end of a request is the end of the answer."""
    if event.stop_type != "limit":
        return True
    limit: int = state.job.parameters["n_predict"]
    pending = state.tokens + len(state.held)
    stage_only = payload["n_predict"] != limit and (limit < 0 or pending < limit)
    return not stage_only


def _over(state: _ResumedState, budget: Budget) -> bool:
    splitter = state.splitter
    return splitter is not None and splitter.reasoning and state.reasoned >= budget.tokens


async def _flat(batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[Event, None]:
    async for batch in batches:
        for event in batch:
            if event.content or event.stop or event.prompt_progress is not None:
                yield event


def _add(total: Timings, more: Timings) -> None:
    if not total.prompt_ms:
        total.cache_n, total.prompt_n, total.prompt_ms = more.cache_n, more.prompt_n, more.prompt_ms
    total.predicted_n += more.predicted_n
    total.predicted_ms += more.predicted_ms
