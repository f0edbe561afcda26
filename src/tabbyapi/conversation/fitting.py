"""Make a conversation fit the model's context.

The functions are plans: generators that yield the calls they need and are sent the answers, so
that the sync and the async conversation share them. On an ordinary turn they yield nothing.

All figures are upper bounds (see token_counts.py). Steps, each only where the one before was not
enough: read the model's context from the server; count messages with its tokenizer; summarize;
leave out the oldest turns. A window begins at the start of a turn, so that a tool's result is
never sent without its call.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Generator, Iterable, Mapping, Sequence
from math import ceil
from typing import Any, TypeAlias, TypeVar

from .._protocol.call import Call
from .._services.chat import chat_call
from .._services.models import card_call
from .._services.tokens import encode_call
from ..errors import APIError, ContextLengthError, NotFoundError
from ..types.messages import ChatMessage
from ..types.models import ModelCard
from .entries import IMAGE_TOKENS, Entry, entry_of, turn_start, turn_starts
from .settings import SUMMARY_PROMPT, Overflow
from .state import State
from .token_counts import TEMPLATE

__all__ = ["Plan", "fit", "prompt_budget", "refit"]

T = TypeVar("T")
Plan: TypeAlias = Generator[Call[Any], Any, T]

_SMALL = 512
"""Tokens that every model takes: the context is not asked for while a prompt is shorter."""

_MARKS = 16  # tokens of a template's marks around a counted message
_log = logging.getLogger("tabbyapi.conversation")


def prompt_budget(context: int, params: Mapping[str, Any]) -> int:
    """Tokens of `context` that a prompt may take.

    The rest is kept for the answer: `max_tokens`, by default a quarter of the context, never
    more than half; and 1/64 as a margin.
    """
    answer = min(params.get("max_tokens") or context // 4, context // 2)
    return context - answer - context // 64


def fit(
    state: State,
    entries: Sequence[Entry],
    new: int,
    params: Mapping[str, Any],
    policy: Overflow,
    summary_prompt: str = SUMMARY_PROMPT,
) -> Plan[None]:
    """Move the window's beginning so that `entries` and an answer fit.

    Args:
        entries: the history and, from index `new` on, what is to be sent.
        policy: what to do if it does not fit.

    Raises:
        ContextLengthError: it cannot be made to fit, or `policy` is "raise".
    """
    total = state.bound(entries)
    if state.context is None:
        if not state.ask or total + (params.get("max_tokens") or 0) <= _SMALL:
            return
        yield from _read_context(state, params)
    if state.context is None:
        return
    budget = prompt_budget(state.context, params)
    if total <= budget:
        return
    if _worth_counting(state, entries, total, budget, policy):
        yield from _count(state, entries, state.start, params)
        if state.bound(entries) <= budget:
            return
    if policy == "raise":
        raise _overflow(state, entries, state.start, params)
    if policy == "summarize":
        yield from _summarize(state, entries, new, params, summary_prompt)
        budget = prompt_budget(state.context, params)
        if state.bound(entries) <= budget:
            return
    # To less than needed, so that the next turns fit as they are and find the server's prompt
    # cache unchanged.
    yield from _truncate(state, entries, new, params, budget * 3 // 4, budget)


def refit(
    state: State,
    entries: Sequence[Entry],
    new: int,
    params: Mapping[str, Any],
    policy: Overflow,
    error: ContextLengthError,
    summary_prompt: str = SUMMARY_PROMPT,
) -> Plan[None]:
    """As `fit`, after the server has refused a prompt that should have fitted.

    Raises:
        ContextLengthError: `error`, if no turn is left that could be left out.
    """
    state.fixed, state.ask = False, True
    yield from _read_context(state, params)
    if state.context is None:
        state.context = _named_context(error) or _SMALL
    sent = re.search(r"[Pp]rompt length (\d+)", error.message)
    actual = int(sent[1]) if sent else state.context + 1
    state.token_counts.too_low(entries, state.start, actual)
    before = state.start
    if policy == "summarize":
        yield from _summarize(state, entries, new, params, summary_prompt)
    budget = prompt_budget(state.context, params)
    if state.start == before or state.bound(entries) > budget:
        try:
            yield from _truncate(state, entries, new, params, budget // 2, budget)
        except ContextLengthError:
            raise error from None
    if state.start == before:
        raise error


def _named_context(error: ContextLengthError) -> int | None:
    named = re.search(r"context size of (\d+)", error.message)
    return int(named[1]) if named else None


def _read_context(state: State, params: Mapping[str, Any]) -> Plan[None]:
    try:
        card: ModelCard = yield card_call("/v1/model", params.get("timeout"))
    except NotFoundError:  # another server that speaks TabbyAPI's protocol
        state.context = None
    else:
        state.context = _context_of(card)
    state.ask = state.context is not None


def _context_of(card: ModelCard) -> int | None:
    known = card.parameters
    if known is None or not known.max_seq_len:
        return None
    # A request has to fit the cache as well, which may be set smaller than the context.
    return min(known.max_seq_len, known.cache_size or known.max_seq_len)


def _count_call(texts: Iterable[str], params: Mapping[str, Any]) -> Call[list[int]]:
    """Ask for the tokens of texts. Not of messages: many servers refuse those."""
    how: dict[str, Any] = {"add_bos_token": False, "encode_special_tokens": False}
    return encode_call("\n".join(texts), {**how, "timeout": params.get("timeout")})


def _worth_counting(
    state: State, entries: Sequence[Entry], total: int, budget: int, policy: Overflow
) -> bool:
    """True if the tokenizer could show that it fits after all."""
    unsure = sum(entries[i].bound for i in state.token_counts.guessed(entries, state.start))
    if total - unsure * 7 // 8 > budget:
        return False
    # Dropping one turn too early is cheaper than a request on every turn near the limit;
    # dropping many, a summary or a refusal is not.
    return unsure > (budget // 4 if policy == "truncate" else 0)


def _count(
    state: State, entries: Sequence[Entry], start: int, params: Mapping[str, Any]
) -> Plan[None]:
    """Replace lengths by the tokenizer's counts, or by an estimate if it does not count."""
    counts = state.token_counts
    for first, stop in _runs(counts.guessed(entries, start)):
        run = entries[first:stop]
        size = sum(entry.bound for entry in run)
        images = sum(entry.images for entry in run)
        try:
            tokens = yield _count_call((entry.plain for entry in run), params)
        except APIError as error:
            rate = counts.rate(entries)
            if rate is None:
                return
            _log.info("the server does not count tokens (%s); estimating", error)
            counts.counted(first, stop, min(size, ceil(size * rate * 1.5)))
        else:
            calls = sum(len(entry.message.tool_calls or ()) for entry in run)
            extra = _MARKS * (len(run) + 2 * calls) + IMAGE_TOKENS * images
            counts.counted(first, stop, min(size, len(tokens) + extra))


def _count_prefix(state: State, params: Mapping[str, Any]) -> Plan[None]:
    """Count system message and tools, if the bound of them is large."""
    counts = state.token_counts
    if counts.prefix + counts.summary <= _SMALL:
        return
    texts = [*(entry.plain for entry in state.system), counts.shape.decode()]
    try:
        tokens = yield _count_call(texts, params)
    except APIError as error:
        _log.info("the server does not count tokens (%s); going by length", error)
        return
    counts.prefix = min(counts.prefix, len(tokens) + TEMPLATE + _MARKS * len(texts))


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbours in ascending indices, as (first, stop)."""
    runs: list[tuple[int, int]] = []
    for i in indices:
        if runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return runs


def _candidates(state: State, entries: Sequence[Entry], new: int) -> list[int]:
    """Places where the window may begin: the starts of turns, the new turn the last of them."""
    latest = turn_start(entries, min(new, len(entries) - 1))
    return [i for i in turn_starts(entries) if state.start < i <= latest]


def _first_within(state: State, entries: Sequence[Entry], starts: list[int], most: int) -> int:
    """Index into `starts` of the longest window of at most `most` tokens; past the end if none."""
    return bisect_left(starts, -most, key=lambda start: -state.bound(entries, start))


def _truncate(
    state: State,
    entries: Sequence[Entry],
    new: int,
    params: Mapping[str, Any],
    target: int,
    budget: int,
) -> Plan[None]:
    starts = _candidates(state, entries, new)
    latest = starts[-1] if starts else state.start
    if state.bound(entries, latest) > budget:
        # Not even the new turn fits by the figures so far: get better ones.
        yield from _count(state, entries, latest, params)
        if state.bound(entries, latest) > budget:
            yield from _count_prefix(state, params)
        if state.bound(entries, latest) > budget:
            raise _overflow(state, entries, latest, params)
    if starts:
        chosen = _first_within(state, entries, starts, target)
        state.start = starts[min(chosen, len(starts) - 1)]


def _summarize(
    state: State,
    entries: Sequence[Entry],
    new: int,
    params: Mapping[str, Any],
    prompt: str,
) -> Plan[None]:
    """Replace the older half of the window by the model's summary of it.

    Changes nothing where that would not help; truncation follows then.
    """
    assert state.context is not None
    starts = _candidates(state, entries, new)
    if not starts:
        return
    budget = prompt_budget(state.context, params)
    length = min(budget // 4, max(64, state.context // 8))
    chosen = _first_within(state, entries, starts, budget // 2 - length)
    stop = starts[min(chosen, len(starts) - 1)]
    if state.bound(entries, stop) + length > budget:
        return
    question = entry_of(ChatMessage("user", prompt))
    most = state.context - length - state.context // 64 - question.bound
    first = state.start
    for start in [first, *starts]:
        first = start
        if state.token_counts.bound(entries, start, stop) <= most:
            break
    if first >= stop:
        return
    if first > state.start:
        _log.warning(
            "%d messages were too long for a summary and are left out", first - state.start
        )
    messages = [*(e.raw for e in state.head), *(e.raw for e in entries[first:stop]), question.raw]
    asked: dict[str, Any] = {
        name: params[name]
        for name in ("model", "timeout", "template_vars", "extra_body", "extra_headers")
        if params.get(name) is not None
    }
    reply = yield chat_call(
        messages, {"enable_thinking": False, **asked, "max_tokens": length - _MARKS}
    )
    text = reply.text.strip()
    if not text:
        _log.warning("the model wrote no summary; the oldest turns are left out without one")
        return
    bound = len(text.encode()) + 2 * _MARKS
    if reply.usage.completion_tokens:
        broken = 2 * text.count("\ufffd")
        bound = min(bound, reply.usage.completion_tokens + broken + 2 * _MARKS)
    state.start = stop
    state.set_summary(text, bound)


def _overflow(
    state: State, entries: Sequence[Entry], start: int, params: Mapping[str, Any]
) -> ContextLengthError:
    context = state.context or 0
    total = state.bound(entries, start)
    budget = prompt_budget(context, params)
    what = "the conversation takes" if start < len(entries) - 1 else "this message takes"
    return ContextLengthError(
        f"{what} up to {total:,} tokens, but the prompt may take {budget:,}: the model's context "
        f"is {context:,} and {context - budget:,} are kept for the answer",
        hint="shorten it, or ask for fewer max_tokens",
    )
