"""Has the engine generate one answer, in one request to it or in several.

Most answers are one request. It is ended and followed by another, whose prompt has what was
generated so far, when the conditions change: the least number of tokens is reached, a banned
string has to be replaced, the reasoning budget is used up, or another answer needs the room.

States: requesting, then `_next` says why the request ends (`_Next`) or `finish` holds the end.
`take` changes them, in the callback that brings the engine's events; `follow` acts on them between
two requests. Each of the reasons but `PUT_BACK` comes a bounded number of times, so an answer ends.
Progress is counted in tokens, whether they show text or not: the engine reports no event for a
token that ends within a character, but its count tells how many there were.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from enum import Enum
from typing import Any

from ..engine import EngineRefusal, Event, Flow, Native, Progress, Timings, TokenProbability
from ..grammar.monitor import GrammarMonitor
from .job import Finish, Job, Sink, TextDelta
from .reasoning import ReasoningSplitter
from .stopping import Banned, HeldText, Stopped, Token, repeats

__all__ = ["Generation"]

_MORE, _WAIT, _ENOUGH = Flow.MORE, Flow.WAIT, Flow.ENOUGH  # an enum's member is slow to look up
_GIVEN_UP = "the constraint became too hard to keep in the middle of the answer: simplify it"
_HALF = "\ufffd"  # how half a character shows
_UNKNOWN = -1  # the id of a token that the engine did not report
_LOOP_CHECK_EVERY = 32  # tokens
_MOST_REWINDS = 100
_MOST_BANS_AT_ONE_PLACE = 20


class _Next(Enum):
    """Why a request to the engine is followed by another."""

    FREE = "free"
    """The conditions of the last one no longer apply."""
    REPLACE = "replace"
    """A banned string was taken back."""
    CLOSE_REASONING = "close reasoning"
    PUT_BACK = "put back"


class Generation:
    """One answer.

    Attributes:
        finish: the end, once it is reached.
        grown: tokens of the prompt and the answer so far, as far as known.
        begun: True once a step was given to the sink.
        banned_token: id of the token that begins a banned string in a constrained answer, which
            cannot go on differently from there: it has to begin again.
    """

    def __init__(self, job: Job, sink: Sink) -> None:
        self.job = job
        self.finish: Finish | None = None
        self.begun = False
        self.banned_token: int | None = None
        self._sink = sink
        self._next: _Next | None = None
        self._leave = False
        self._ids: list[int] = []
        self._unknown: dict[int, str] = {}  # index in `_ids` after unknown ones: their text
        self._spelled: dict[int, list[int]] = {}  # the same: the ids that their text has
        self._texts: list[str] = []  # of a multimodal prompt, which goes on as text
        self._counted = 0  # tokens of the request in progress
        self._added = 0  # tokens that were put in, not generated
        self._prompt_tokens = len(job.prompt)
        self._unshown: list[TokenProbability] = []
        self._held = HeldText(job.stop, job.banned) if job.stop or job.banned else None
        self._banned_ids: defaultdict[int, list[int]] = defaultdict(list)
        self._replaced = Token(0, "")
        self._rewinds = 0
        self._until: int | None = None  # tokens after which the conditions change
        self._recent: list[int] = []
        self._loop_window = job.loop_window if job.loop_window > 1 else 0
        self._check_loop_at = max(self._loop_window, _LOOP_CHECK_EVERY)
        self._budget = job.budget
        self._splitter: ReasoningSplitter | None = None
        if (budget := job.budget) is not None:
            inside = budget.begins_inside
            self._splitter = ReasoningSplitter(budget.start, budget.end, reasoning=inside)
        self._reasoned = 0
        self._monitor: GrammarMonitor | None = None
        self._timings = Timings()
        self._cut_before = False
        self._requested_at = 0.0
        self._prompt_read_at = 0.0

    # ------------------------------------------------------------------ between requests

    @property
    def grown(self) -> int:
        return self._prompt_tokens + len(self._ids)

    @property
    def resumable(self) -> bool:
        """True if it can be put back and go on; the engine cannot enter a grammar midway."""
        return not self.job.constrained

    def put_back(self) -> None:
        """End the request at the next event, so that `follow` returns."""
        self._leave = True

    async def follow(self, native: Native) -> None:
        """Generate until the end, or until put back: then `finish` is None. Cancel it to cancel.

        Raises:
            EngineRefusal, EngineDied: the engine failed.
        """
        grammar = self.job.parameters.get("grammar")
        if grammar and self._monitor is None:
            self._monitor = await asyncio.to_thread(GrammarMonitor, grammar)
        while True:
            self._next, self._leave, self._counted = None, False, 0
            payload = await self._payload(native)
            self._requested_at = time.monotonic()
            try:
                await native.follow(payload, self._take, self._sink.drain)
            except EngineRefusal as error:
                if not (error.overflow and self._ids):
                    raise
                last: list[TextDelta] = []  # what was generated has filled the context
                self._finish("max_new_tokens", None, last)
                self._sink.put(last)
            if self.finish is not None:
                self._sink.put(self.finish)
                return
            if self._next is _Next.REPLACE and self.job.constrained:
                await self._spell(native)
                self.banned_token = self._first_id(self._replaced)
                return
            if self._next is _Next.PUT_BACK:
                return
            await self._prepare(native)

    async def _payload(self, native: Native) -> dict[str, Any]:
        """The next request."""
        job, done = self.job, self._generated
        changed: dict[str, Any] = {"return_tokens": True}
        changed["prompt"] = await self._prompt(native)
        if job.max_tokens:
            changed["n_predict"] = max(1, job.max_tokens - done)
        bans = self._banned_ids.get(len(self._ids), [])
        self._until = len(self._ids) + 1 if bans else None
        if done < job.min_tokens and not job.constrained:
            changed["ignore_eos"] = True
            bans = [*bans, *job.stop_ids]
            if self._until is None:
                self._until = job.min_tokens + self._added
        if bans:
            bias = job.parameters.get("logit_bias", [])
            changed["logit_bias"] = [*bias, *([token, False] for token in bans)]
        return job.parameters | changed

    async def _prompt(self, native: Native) -> object:
        """The prompt with what was generated so far, as the engine takes it."""
        if (prompt := self.job.multimodal) is not None:
            text = prompt.text + "".join(self._texts)
            return {"prompt_string": text, "multimodal_data": prompt.images}
        await self._spell(native)
        known: list[int] = []
        for index, token in enumerate(self._ids):
            if token != _UNKNOWN:
                known += self._spelled.get(index) or [token]
        return self.job.prompt + known

    async def _spell(self, native: Native) -> None:
        """Find the ids of unknown tokens: they spell a text that ends with a known one."""
        for end, text in self._unknown.items():
            if end not in self._spelled:
                self._spelled[end] = await native.tokenize(text, special=False, bos=False)

    async def _prepare(self, native: Native) -> None:
        if self._next is _Next.CLOSE_REASONING and (budget := self._budget) is not None:
            self._budget = None
            text = budget.message + budget.end
            ids = await native.tokenize(text, bos=False)
            self._ids += ids
            self._texts += [text, *[""] * (len(ids) - 1)]
            self._added += len(ids)
        if self._next is _Next.REPLACE:
            token = self._replaced
            await self._spell(native)
            self._banned_ids[token.position].append(self._first_id(token))
            self._forget(token.position)

    def _first_id(self, token: Token) -> int:
        """Id of the token, or of the first of those that make up its character."""
        if (known := self._ids[token.position]) != _UNKNOWN:
            return known
        return self._spelled[min(end for end in self._unknown if end >= token.position)][0]

    def _forget(self, position: int) -> None:
        """Take back the tokens from this position on."""
        del self._ids[position:]
        if self.job.multimodal is not None:
            del self._texts[position:]
        for end in [end for end in self._unknown if end >= position]:
            del self._unknown[end]
            self._spelled.pop(end, None)

    # ------------------------------------------------------------------- during a request

    @property
    def _generated(self) -> int:
        return len(self._ids) - self._added

    def _take(self, events: list[Event]) -> Flow:
        """Turn the events of one network read into steps."""
        deltas: list[TextDelta] = []
        for event in events:
            if event.stop:
                self._end(event, deltas)
            elif event.prompt_progress is not None:
                self._prompt_read(event.prompt_progress)
            else:
                self._token(event, deltas)
            if self._next is not None or self.finish is not None:
                break
        else:
            if self._leave:
                self._cut(_Next.PUT_BACK)
        keeps_up = True
        if deltas:
            self.begun = True
            keeps_up = self._sink.put(deltas)
        if self._next is not None or self.finish is not None:
            return _ENOUGH
        return _MORE if keeps_up else _WAIT

    def _prompt_read(self, progress: Progress) -> None:
        self._prompt_read_at = time.monotonic()
        if self._cut_before:
            return
        self._timings.cache_n = progress.cache
        self._timings.prompt_n = progress.total - progress.cache
        self._timings.prompt_ms = (self._prompt_read_at - self._requested_at) * 1000
        if self.job.multimodal is not None:
            self._prompt_tokens = progress.total

    def _token(self, event: Event, deltas: list[TextDelta]) -> None:
        content, ids = event.content, self._ids
        if not content and self.job.visible and event.tokens:
            content = self.job.visible.get(event.tokens[-1], "")
        position = len(ids)
        self._counted += len(event.tokens)
        if (unseen := event.tokens_predicted - self._counted) > 0:
            self._counted += unseen
            ids += [_UNKNOWN] * unseen
            self._unknown[len(ids)] = content
        ids += event.tokens
        if self._monitor is not None and content and self._monitor.leaves(content):
            if deltas:
                self._sink.put(deltas)
            raise EngineRefusal(_GIVEN_UP, status=400)
        if self.job.stop_ids and not self.job.stop_ids.isdisjoint(event.tokens):
            self._finish("stop_token", None, deltas)
            return
        if self.job.multimodal is not None:
            self._texts += [""] * (len(ids) - position - 1) + [content]
        probabilities = event.completion_probabilities
        if (held := self._held) is not None:
            found = held.feed(Token(position, content, probabilities), deltas)
            if isinstance(found, Stopped):
                self._finish("stop_string", found.stop, deltas)
                return
            if isinstance(found, Banned) and self._replace(found.token, deltas):
                return
        elif content:
            if self._unshown:
                probabilities = self._unshown + (probabilities or [])
                self._unshown = []
            deltas.append(TextDelta(content, probabilities))
        elif probabilities:
            self._unshown += probabilities
        if self._loop_window and self._circles(event.tokens):
            self._finish("loop_detected", None, deltas)
        elif self._splitter is not None and self._overspent(content):
            self._cut(_Next.CLOSE_REASONING)
            if self._next is not None and self._budget is not None:
                self._release(deltas)
                deltas.append(TextDelta(self._budget.message + self._budget.end))
        elif self._until is not None and len(ids) >= self._until:
            self._cut(_Next.FREE)

    def _replace(self, token: Token, deltas: list[TextDelta]) -> bool:
        """Take a banned string back; False if that was tried too often, and it stays."""
        assert self._held is not None
        bans = self._banned_ids[token.position]
        if self._rewinds >= _MOST_REWINDS or len(bans) >= _MOST_BANS_AT_ONE_PLACE:
            self._held.allow_all(deltas)
            return False
        self._held.take_back(token, deltas)
        self._rewinds += 1
        self._replaced = token
        self._cut(_Next.REPLACE)
        return True

    def _circles(self, tokens: list[int]) -> bool:
        """True if the answer repeats itself endlessly. Looked at every now and then."""
        recent = self._recent
        recent += tokens
        if len(self._ids) < self._check_loop_at:
            return False
        self._check_loop_at = len(self._ids) + _LOOP_CHECK_EVERY
        del recent[: len(recent) - self._loop_window]
        return repeats(recent)

    def _overspent(self, content: str) -> bool:
        """True if the reasoning budget is used up."""
        splitter, budget = self._splitter, self._budget
        if splitter is None or budget is None:
            return False
        inside = splitter.reasoning
        splitter.feed(content)
        self._reasoned += inside and splitter.reasoning
        return splitter.reasoning and self._reasoned >= budget.tokens

    def _end(self, event: Event, deltas: list[TextDelta]) -> None:
        """The engine ended its request by itself."""
        unseen = event.tokens_predicted - self._counted
        if event.stop_type == "limit":
            if unseen > 0:
                self._ids += [_UNKNOWN] * unseen
                half = Token(len(self._ids), _HALF)
                if self._held is not None:
                    self._held.held.append(half)
                else:
                    deltas.append(TextDelta(_HALF))
            self._finish("max_new_tokens", None, deltas, event.timings)
            return
        if unseen > 0:  # the end-of-sequence token, which counts but has no text
            self._ids += [_UNKNOWN] * unseen
        elif self._held is not None and self._held.held and not self._held.held[-1].text:
            self._held.held.pop()
        elif self._unshown:
            self._unshown.pop()
        if self.job.constrained:
            self._finish("end_filter", None, deltas, event.timings)
        else:
            self._finish("stop_token", self.job.eos_text or None, deltas, event.timings)

    def _finish(
        self,
        reason: str,
        stop: str | None,
        deltas: list[TextDelta],
        timings: Timings | None = None,
    ) -> None:
        if reason != "stop_string":
            self._release(deltas)
        self._measure(timings)
        self.finish = Finish(reason, stop, self._generated, self._timings)

    def _release(self, deltas: list[TextDelta]) -> None:
        """Give out everything that is held back."""
        if self._held is not None:
            self._held.flush(deltas)
        elif self._unshown:
            deltas.append(TextDelta("", self._unshown))
            self._unshown = []

    def _cut(self, reason: _Next) -> None:
        """End the request to the engine; another will follow, unless max_tokens are reached."""
        if 0 < self.job.max_tokens <= self._generated and reason is not _Next.REPLACE:
            return  # the engine is about to end it
        self._next = reason
        self._measure(None)

    def _measure(self, timings: Timings | None) -> None:
        """Add what the request has cost: the engine tells, unless the request was cut."""
        total = self._timings
        if timings is None:
            ms = (time.monotonic() - self._prompt_read_at) * 1000
            timings = Timings(predicted_n=self._counted, predicted_ms=ms if self._counted else 0.0)
        elif not self._cut_before:
            total.cache_n, total.prompt_n = timings.cache_n, timings.prompt_n
            total.prompt_ms = timings.prompt_ms
        self._cut_before = True
        total.predicted_n += timings.predicted_n
        total.predicted_ms += timings.predicted_ms
