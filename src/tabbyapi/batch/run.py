"""Run a batch: `run_batch`.

Workers (`_Run._worker`) share one iterator of lines that have no result. Each takes a line, sends
it until it is answered or has failed for good, and appends its result to the journal. An error
that concerns every line (`_Stop`) ends all workers; what has no result stays to be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .._client.aio import AsyncClient
from .._protocol.call import Call
from ..errors import (
    APIError,
    AuthenticationError,
    ModelNotLoadedError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    RequestTimeout,
    TabbyError,
    ValidationError,
)
from ..types.options import RetryPolicy
from .journal import Failure, Journal, Reply, Result, digest_of
from .lines import Answer, Defaults, call_of, read_line
from .recovery import Outage, ServerGone

__all__ = ["BatchTotals", "count_lines", "run_batch"]

_SYNC_EVERY = 1.0  # seconds of results that a power failure may cost
_MOST_LOSSES = 10  # connections lost under one line before it is the line's fault
_PASSING = frozenset({408, 429, 502, 503, 504})


@dataclass
class BatchTotals:
    """Progress of a batch.

    Attributes:
        done: lines that have a result, of this run and of earlier ones.
        failed: how many of these results are errors.
        answered_now, tokens_now: answers of this run, and the tokens generated for them.
    """

    done: int = 0
    failed: int = 0
    answered_now: int = 0
    tokens_now: int = 0


async def run_batch(
    client: AsyncClient,
    lines: Iterable[bytes],
    output: str | Path,
    *,
    defaults: Defaults | None = None,
    concurrency: int = 8,
    retries: int = 3,
    wait: float = 600.0,
    ordered: bool = True,
    keep_body: bool = True,
    retry_failed: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[BatchTotals], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> BatchTotals:
    """Answer every line of a file, and write one result for each.

    Killed at any instant, it resumes when it is called again with the same arguments: lines that
    have a result on disk are not sent again. A server that restarts is waited for.

    Args:
        client: sends the requests. Make it with `retry=0`: this function retries.
        lines: JSON lines: prompts, messages, or requests in OpenAI's batch form. An open binary
            file will do; it is read as the lines are needed.
        output: file of the results. What it holds already is kept.
        defaults: system message and parameters of lines that give none.
        concurrency: lines in flight at once.
        retries: further tries after a passing failure of one line (408, 429, 502, 503, 504, a
            timeout, an answer cut short).
        wait: seconds to wait for a server that stops answering.
        ordered: put the results in the order of the lines at the end; they are written as they
            come.
        keep_body: keep the whole answer beside its text.
        retry_failed: send lines again whose result is an error.
        overwrite: start over, whatever the output holds.
        on_progress: called with the totals after each result.
        on_message: called with messages for people, such as that a server is waited for.

    Returns:
        The totals. Lines that failed are among the results, with their `error`.

    Raises:
        ServerGone: the server went away and did not come back in time.
        ConnectError, AuthenticationError, ModelNotLoadedError: no line could be answered. As
            with all errors here, lines without a result stay to be done.
        JournalError: the output is in use, or belongs to another batch.
        ValidationError: an argument that cannot be used.
        OSError: a result cannot be written.
    """
    if concurrency < 1 or retries < 0 or wait < 0:
        raise ValidationError("concurrency must be at least 1, retries and wait at least 0")
    defaults = defaults or Defaults()
    with Journal(Path(output), retry_failed=retry_failed, overwrite=overwrite) as journal:
        outage = Outage(client, wait, on_message or (lambda _: None))
        tell = on_progress or (lambda _: None)
        run = _Run(client, journal, outage, defaults, retries, keep_body, tell)
        await run.work(_numbered(lines), concurrency)
        journal.sync()
        if ordered:
            journal.put_in_order()
        return run.totals


def count_lines(path: str | Path) -> int:
    """Count the lines of a file that are not blank."""
    with Path(path).open("rb") as file:
        return sum(1 for _ in _numbered(file))


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for index, line in enumerate(lines):
        text = (line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line).strip()
        if text:
            yield index, text


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self,
        client: AsyncClient,
        journal: Journal,
        outage: Outage,
        defaults: Defaults,
        retries: int,
        keep_body: bool,
        tell: Callable[[BatchTotals], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._outage = outage
        self._defaults = defaults
        self._policy = RetryPolicy(
            max_retries=retries, base_delay=0.5, max_delay=30.0, statuses=_PASSING
        )
        self._retries = retries
        self._keep_body = keep_body
        self._options = msgspec.json.encode(
            [defaults.system, dict(defaults.params)], order="sorted", enc_hook=repr
        )
        self._tell = tell
        self.totals = BatchTotals(journal.done, journal.failed)

    async def work(self, lines: Iterator[tuple[int, bytes]], concurrency: int) -> None:
        """Answer the lines that have no result yet."""
        todo = self._todo(lines)
        first = next(todo, None)
        if first is None:
            return
        await self._client.health.check()  # a server that was never there is not waited for
        syncing = asyncio.create_task(self._sync_now_and_then())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._worker(todo, first))
                for _ in range(concurrency - 1):
                    group.create_task(self._worker(todo))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            syncing.cancel()
            (trouble,) = await asyncio.gather(syncing, return_exceptions=True)
            await self._outage.stop()
            if isinstance(trouble, Exception):
                raise trouble

    def _todo(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes, int]]:
        key = digest_of(self._options).to_bytes(8)
        for index, line in lines:
            digest = digest_of(line, key)
            if not self._journal.has(index, digest):
                yield index, line, digest

    async def _worker(
        self,
        todo: Iterator[tuple[int, bytes, int]],
        first: tuple[int, bytes, int] | None = None,
    ) -> None:
        item = first or next(todo, None)
        while item is not None:
            index, line, digest = item
            custom_id: str | None = None
            attempts = _Attempts()
            try:
                custom_id, content = read_line(line)
                answer = await self._answer(call_of(content, self._defaults), attempts)
                result = self._result(index, custom_id, digest, answer)
                self.totals.answered_now += 1
                self.totals.tokens_now += answer.tokens
            except _Stop as stop:
                raise stop.cause from None
            except TabbyError as error:
                result = _failure(index, custom_id, digest, error, attempts.sent)
                await asyncio.sleep(0)  # a file of nothing but bad lines can be interrupted too
            self._journal.append(result, digest)
            self.totals.done, self.totals.failed = self._journal.done, self._journal.failed
            self._tell(self.totals)
            item = next(todo, None)

    async def _answer(self, call: Call[Answer], attempts: _Attempts) -> Answer:
        """Send a call until it is answered or has failed for good.

        Raises:
            TabbyError: the line has failed.
            _Stop: it is not the line's fault, and the batch cannot go on.
        """
        embeddings = call.path.endswith("/embeddings")
        while True:
            attempts.sent += 1
            try:
                answer = await self._client.send(call)
            except TabbyError as error:
                failure = error
            else:
                if not answer.cut_short:
                    return answer
                failure = RequestError(
                    "the server broke off the answer; was its model unloaded?", answered=True
                )
            if self._concerns_all(failure):
                raise _Stop(failure)
            if _is_outage(failure):
                attempts.lost += 1
                if attempts.lost > _MOST_LOSSES:
                    raise failure
                try:
                    await self._outage.over(failure, embeddings=embeddings)
                except ServerGone as gone:
                    raise _Stop(gone) from None
                continue
            attempts.failed += 1
            delay = self._delay(failure, attempts.failed)
            if delay is None:
                raise failure
            await asyncio.sleep(delay)

    def _concerns_all(self, error: TabbyError) -> bool:
        """True if every other line would fail in the same way."""
        if isinstance(error, AuthenticationError):
            return not isinstance(error, PermissionDeniedError)
        # Without a single answer, this may be a server of another kind, or one without a model.
        never = self.totals.done == self.totals.failed
        return never and isinstance(error, NotFoundError | ModelNotLoadedError)

    def _delay(self, error: TabbyError, attempt: int) -> float | None:
        if isinstance(error, RequestError):  # a timeout, or an answer that cannot be used
            return 0.5 * attempt if attempt <= self._retries else None
        return self._policy.delay(error, attempt)

    def _result(self, index: int, custom_id: str | None, digest: int, answer: Answer) -> Result:
        reply = Reply(200, msgspec.Raw(answer.body)) if self._keep_body else None
        return Result(index, custom_id, answer.text, None, reply, f"{digest:016x}")

    async def _sync_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_EVERY)
            await asyncio.to_thread(self._journal.sync)


@dataclass
class _Attempts:
    """Attempts at one line so far."""

    sent: int = 0
    failed: int = 0
    lost: int = 0


class _Stop(Exception):
    """Ends the batch with an error, `cause`."""

    def __init__(self, cause: TabbyError) -> None:
        self.cause = cause


def _is_outage(error: TabbyError) -> bool:
    """True if an error is about the server more than about the request."""
    if isinstance(error, ModelNotLoadedError):
        return True
    return (
        isinstance(error, RequestError)
        and not isinstance(error, RequestTimeout)
        and not error.answered
    )


def _failure(
    index: int, custom_id: str | None, digest: int, error: TabbyError, attempts: int
) -> Result:
    message = str(error)
    if isinstance(error, APIError):
        message = "; ".join([error.message, *error.details])
    failure = Failure(error.code, message, error.status_code, attempts)
    return Result(index, custom_id, None, failure, None, f"{digest:016x}")


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The error that ended the group; the others follow from it."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
