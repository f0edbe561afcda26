"""One answer of the engine: its text as it comes, and why it ended.

Most answers are one request to the engine (`_plain`: the hot path). Banned strings, a least
length and a reasoning budget need several (`_guided`): the engine is stopped, the prompt is
extended by the text so far, and generation goes on under other conditions.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from .engine import EngineRefusal, Event, Native, Timings
from .engine.native import Progress, TokenProbability
from .follower import Follower
from .reasoning import ReasoningSplitter, held_back

__all__ = ["Budget", "Ending", "Job", "Pictured", "Piece", "Step", "generate", "repeats"]

_GIVEN_UP = "the constraint became too hard to keep in the middle of the answer: simplify it"
_LOOP_CHECK_EVERY = 32  # tokens
_MOST_REWINDS = 100
_MOST_BANS_AT_ONE_PLACE = 20


@dataclass(frozen=True)
class Budget:
    """Reasoning is ended after `tokens` by putting in `message` and the closing tag."""

    tokens: int
    message: str
    start: str
    end: str
    begins_inside: bool


@dataclass(frozen=True)
class Pictured:
    """A prompt with images: `marker` stands in its text where each of them belongs."""

    text: str
    images: tuple[str, ...]
    """PNG files in base64."""


@dataclass(frozen=True)
class Job:
    """What to generate.

    `prompt` is empty where the prompt is `pictured`: then only the engine can count its tokens.
    """

    prompt: list[int]
    parameters: dict[str, Any]
    pictured: Pictured | None = None
    constrained: bool = False
    stop_ids: frozenset[int] = frozenset()
    banned: tuple[str, ...] = ()
    min_tokens: int = 0
    loop_window: int = 0
    budget: Budget | None = None
    eos_text: str = ""

    @property
    def guided(self) -> bool:
        """Whether one request to the engine is not enough."""
        return bool(self.banned or self.budget or self.min_tokens) and not self.constrained

    async def engine_prompt(self, native: Native, written: str = "") -> object:
        """The prompt as the engine takes it, with what was already `written` of the answer."""
        if (pictured := self.pictured) is not None:
            return {"prompt_string": pictured.text + written, "multimodal_data": pictured.images}
        if not written:
            return self.prompt
        # Tokenized anew rather than collected: the engine does not report every token's id.
        return self.prompt + await native.tokenize(written, bos=False)


@dataclass(slots=True)
class Piece:
    """Text that was generated, usually one token."""

    text: str
    probabilities: list[TokenProbability] | None = None


@dataclass(slots=True)
class Ending:
    """Why generation ended (None: the model was unloaded), and what it cost. Times are ms."""

    eos_reason: str | None
    stop_str: str | None
    tokens: int
    timings: Timings = field(default_factory=Timings)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, as the engine counts them."""
        return self.timings.cache_n + self.timings.prompt_n


Step = list[Piece] | Ending


def generate(native: Native, job: Job) -> AsyncGenerator[Step, None]:
    """Generate: lists of pieces as they come, then one `Ending`. Close it to cancel."""
    return _guided(native, job) if job.guided else _plain(native, job)


def repeats(tokens: list[int]) -> bool:
    """Whether the tokens are one pattern, repeated at least twice. O(n)."""
    border = [0] * len(tokens)
    size = 0
    for at in range(1, len(tokens)):
        while size and tokens[at] != tokens[size]:
            size = border[size - 1]
        if tokens[at] == tokens[size]:
            size += 1
        border[at] = size
    return bool(tokens) and (len(tokens) - size) * 2 <= len(tokens)


class _Watch:
    """Ends an answer at a stop token id, or when it goes round in circles."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.window = job.loop_window if job.loop_window > 1 else 0
        self.recent: list[int] = []
        self.count = 0

    def verdict(self, event: Event) -> str | None:
        tokens = event.tokens
        self.count += len(tokens)
        if self.job.stop_ids and not self.job.stop_ids.isdisjoint(tokens):
            return "stop_token"
        if self.window:
            recent = self.recent
            recent += tokens
            if len(recent) >= self.window and self.count % _LOOP_CHECK_EVERY == 0:
                del recent[: len(recent) - self.window]
                if repeats(recent):
                    return "loop_detected"
        return None


def _prompt_read(progress: Progress) -> Timings:
    """What is known of an answer's cost before its end."""
    return Timings(cache_n=progress.cache, prompt_n=progress.total - progress.cache)


def _ending(job: Job, event: Event) -> Ending:
    timings = event.timings or Timings()
    if event.stop_type == "limit":
        return Ending("max_new_tokens", None, event.tokens_predicted, timings)
    if event.stop_type == "word":
        return Ending("stop_string", event.stopping_word, event.tokens_predicted, timings)
    if job.constrained:
        return Ending("end_filter", None, event.tokens_predicted, timings)
    return Ending("stop_token", job.eos_text or None, event.tokens_predicted, timings)


async def _plain(native: Native, job: Job) -> AsyncGenerator[Step, None]:
    prompt = await job.engine_prompt(native)
    payload = job.parameters | {"prompt": prompt, "return_tokens": True}
    watch = _Watch(job)
    grammar = job.parameters.get("grammar")
    follower = await asyncio.to_thread(Follower, grammar) if grammar else None
    read = Timings()
    async with aclosing(native.complete(payload)) as batches:
        async for batch in batches:
            pieces: list[Piece] = []
            for event in batch:
                if event.prompt_progress is not None:
                    read = _prompt_read(event.prompt_progress)
                    continue
                if event.content:
                    if follower is not None and follower.leaves(event.content):
                        if pieces:
                            yield pieces
                        raise EngineRefusal(_GIVEN_UP, status=400)
                    reason = watch.verdict(event)
                    if reason != "stop_token":
                        pieces.append(Piece(event.content, event.completion_probabilities))
                    if reason:
                        if pieces:
                            yield pieces
                        yield Ending(reason, None, event.tokens_predicted, read)
                        return
                if event.stop:
                    if pieces:
                        yield pieces
                    yield _ending(job, event)
                    return
            if pieces:
                yield pieces


class _Guided:
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

    def release(self, count: int) -> list[Piece]:
        """Decide the first `count` held events."""
        out, self.held = self.held[:count], self.held[count:]
        pieces = [Piece(e.content, e.completion_probabilities) for e in out if e.content]
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


async def _guided(native: Native, job: Job) -> AsyncGenerator[Step, None]:
    state = _Guided(job)
    watch = _Watch(job)
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
                        state.timings = _prompt_read(event.prompt_progress)
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
                            yield pieces
                        break
                    given_up = True
                if pieces := state.release(len(state.held) if given_up else state.safe()):
                    yield pieces
                budget = state.budget
                if budget is not None and _over(state, budget):
                    forced = budget.message + budget.end
                    state.text += forced
                    state.budget = None
                    state.held.clear()
                    yield [Piece(forced)]
                    break
        if again is not None and again.timings is not None:
            _add(state.timings, again.timings)
        if cut or (again is not None and _final(state, again, payload)):
            if pieces := state.release(len(state.held)):
                yield pieces
            if cut:
                yield Ending(cut, None, state.tokens, state.timings)
                return
            assert again is not None
            ending = _ending(job, again)
            ending.tokens, ending.timings = state.tokens, state.timings
            yield ending
            return
        prompt = await job.engine_prompt(native, state.text + state.held_text)


def _final(state: _Guided, event: Event, payload: dict[str, Any]) -> bool:
    """Whether the end of a request is the end of the answer."""
    if event.stop_type != "limit":
        return True
    limit: int = state.job.parameters["n_predict"]
    pending = state.tokens + len(state.held)
    stage_only = payload["n_predict"] != limit and (limit < 0 or pending < limit)
    return not stage_only


def _over(state: _Guided, budget: Budget) -> bool:
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
