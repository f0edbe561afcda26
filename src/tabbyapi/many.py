"""Many prompts at once: `chat.map` and `chat.parse_many`.

Prompts are taken from their iterable as they are needed; at most `concurrency` requests are under
way, and at most three times as many prompts are taken ahead of the results that were used.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sys
import threading
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from .errors import APIError, OutputError, RequestError, TabbyError, ValidationError
from .types import ChatCompletionResponse, ChatParams
from .types.messages import ChatMessage, ContentLike, MessageLike
from .types.options import RetryPolicy
from .types.requests import ChatCompletionRequest

__all__ = [
    "AsyncPrompts",
    "ManyParams",
    "MapResult",
    "PromptLike",
    "Prompts",
    "map_async",
    "map_sync",
]

T = TypeVar("T")

PromptLike: TypeAlias = str | MessageLike | Sequence[MessageLike] | ChatCompletionRequest
"""A user's text, a message, a whole conversation, or a prepared request."""

Prompts: TypeAlias = Iterable[PromptLike]
AsyncPrompts: TypeAlias = Iterable[PromptLike] | AsyncIterable[PromptLike]

Ask: TypeAlias = Callable[[Any, Mapping[str, Any]], tuple[ChatCompletionResponse, T]]
"""Sends messages with parameters; returns the response and its value."""
AsyncAsk: TypeAlias = Callable[
    [Any, Mapping[str, Any]], Awaitable[tuple[ChatCompletionResponse, T]]
]

_AHEAD = 3  # prompts taken ahead, for each request under way
_PASSING = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class MapResult(Generic[T]):
    """The result of one of many prompts.

    Attributes:
        index: place of the prompt, from 0.
        prompt: the prompt as it was given.
        response: the model's response, None if there is none.
        value: text of the answer (`map`), or the value read from it (`parse_many`); None if it
            failed.
        error: why it failed, None if it did not.
    """

    index: int
    prompt: Any
    response: ChatCompletionResponse | None = None
    value: T | None = None
    error: TabbyError | None = None

    @property
    def text(self) -> str:
        """Text of the answer, "" if there is none."""
        return self.response.text if self.response is not None else ""

    def unwrap(self) -> T:
        """Return the value.

        Raises:
            TabbyError: the error of this prompt.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # there is one without an error


class ManyParams(ChatParams, total=False):
    """Parameters of `chat.map` and `chat.parse_many`: those of every request, and of the run."""

    concurrency: int
    """Requests under way at once, 1 or more. Default 8."""
    ordered: bool
    """Results in the order of the prompts, or as they complete (False). Default True."""
    progress: bool | Callable[[int, int], object]
    """True: a bar on standard error, in terminals and notebooks. Or a function of the number of
    prompts that are done, and of those that failed. Default False.
    """
    retries: int
    """Further tries after a passing failure: a lost connection, a timeout, 408, 429, 502, 503,
    504. They take the place of the client's retries. Default 3.
    """
    system: ContentLike | None
    """System message for prompts that have none. Default none."""


class _Plan:
    """The checked parameters of a run."""

    def __init__(self, prompts: Any, params: Mapping[str, Any]) -> None:
        if isinstance(prompts, str | bytes | Mapping | ChatMessage | ChatCompletionRequest):
            raise ValidationError("prompts must be a list: [prompt, ...]", field="prompts")
        own = {name: params[name] for name in _OPTIONS if params.get(name) is not None}
        self.params = {name: value for name, value in params.items() if name not in _OPTIONS}
        self.concurrency: int = own.get("concurrency", 8)
        self.ordered: bool = own.get("ordered", True)
        self.progress = own.get("progress", False)
        self.system = own.get("system")
        retries = own.get("retries", 3)
        for name, value, least in ("concurrency", self.concurrency, 1), ("retries", retries, 0):
            if type(value) is not int or value < least:
                raise ValidationError(
                    f"{name} must be a whole number of {least} or more, not {value!r}", field=name
                )
        self.retry = RetryPolicy(retries, 0.5, 30.0, _PASSING)
        if (self.params.get("n") or 1) != 1:
            raise ValidationError("n must be 1: each prompt has one result", field="n")
        self.ahead = self.concurrency * _AHEAD
        self.total = len(prompts) if isinstance(prompts, Sized) else None

    def messages(self, prompt: Any) -> Any:
        if isinstance(prompt, ChatCompletionRequest):
            return prompt
        if isinstance(prompt, str):
            prompt = {"role": "user", "content": prompt}
        messages = [prompt] if isinstance(prompt, Mapping | ChatMessage) else prompt
        if self.system is None or not isinstance(messages, Sequence):
            return messages
        if any(_role(message) == "system" for message in messages):
            return messages
        return [{"role": "system", "content": self.system}, *messages]

    def pause(self, error: TabbyError, attempt: int) -> float | None:
        """Seconds until the next try, None if there is none.

        Raises:
            ValidationError: `error`, if it is of a parameter, and so of every prompt.
        """
        if isinstance(error, ValidationError):
            if (error.field or "").startswith("messages"):
                return None
            raise error
        if isinstance(error, RequestError) and not isinstance(error, APIError):
            return 0.5 * attempt if attempt <= self.retry.max_retries else None
        return self.retry.delay(error, attempt)


_OPTIONS = ("concurrency", "ordered", "progress", "retries", "system")


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else getattr(message, "role", None)


# ------------------------------------------------------------------------------- blocking


def map_sync(ask: Ask[T], prompts: Prompts, params: Mapping[str, Any]) -> Iterator[MapResult[T]]:
    """Ask for all prompts in threads; see `Chat.map`."""
    plan = _Plan(prompts, params)
    return _map_sync(ask, iter(prompts), plan)


def _map_sync(ask: Ask[T], prompts: Iterator[Any], plan: _Plan) -> Iterator[MapResult[T]]:
    stop = threading.Event()

    def one(index: int, prompt: Any) -> MapResult[T]:
        attempt = 1
        while not stop.is_set():
            try:
                response, value = ask(plan.messages(prompt), plan.params)
                return MapResult(index, prompt, response, value)
            except TabbyError as error:
                pause = plan.pause(error, attempt)
                failed = _failed(index, prompt, error)
            if pause is None:
                return failed
            attempt += 1
            stop.wait(pause)
        raise StopIteration  # never seen: the results are no longer asked for

    with _Workers(plan.concurrency) as workers, _reporting(plan) as report:
        pending: deque[Future[MapResult[T]]] = deque()
        numbered = enumerate(prompts)
        try:
            while True:
                while len(pending) < plan.ahead and (item := next(numbered, None)) is not None:
                    pending.append(workers.submit(one, *item))
                if not pending:
                    return
                if not plan.ordered:
                    wait(pending, return_when=FIRST_COMPLETED)
                    done = next(future for future in pending if future.done())
                    pending.remove(done)
                else:
                    done = pending.popleft()
                result = done.result()
                report(result)
                yield result
        finally:
            stop.set()


class _Workers:
    """A few daemon threads. Unlike those of an executor, they do not delay a program's exit."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = context.run(function, *args)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(job)
        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._work, name="tabbyapi map", daemon=True).start()
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        while not self._jobs.empty():  # what has not begun
            self._jobs.get()
        for _worker in range(self._started):
            self._jobs.put(None)


# -------------------------------------------------------------------------------- asyncio


def map_async(
    ask: AsyncAsk[T], prompts: AsyncPrompts, params: Mapping[str, Any]
) -> AsyncIterator[MapResult[T]]:
    """Ask for all prompts in tasks; see `AsyncChat.map`."""
    plan = _Plan(prompts, params)
    return _map_async(ask, prompts, plan)


async def _map_async(
    ask: AsyncAsk[T], prompts: AsyncPrompts, plan: _Plan
) -> AsyncIterator[MapResult[T]]:
    slots = asyncio.Semaphore(plan.concurrency)

    async def one(index: int, prompt: Any) -> MapResult[T]:
        async with slots:
            attempt = 1
            while True:
                try:
                    response, value = await ask(plan.messages(prompt), plan.params)
                    return MapResult(index, prompt, response, value)
                except TabbyError as error:
                    pause = plan.pause(error, attempt)
                    failed = _failed(index, prompt, error)
                if pause is None:
                    return failed
                attempt += 1
                await asyncio.sleep(pause)

    pending: deque[asyncio.Task[MapResult[T]]] = deque()
    numbered = _numbered(prompts)
    try:
        with _reporting(plan) as report:
            while True:
                while len(pending) < plan.ahead:
                    item = await anext(numbered, None)
                    if item is None:
                        break
                    pending.append(asyncio.create_task(one(*item)))
                if not pending:
                    return
                if not plan.ordered:
                    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    done = next(task for task in pending if task.done())
                    pending.remove(done)
                else:
                    done = pending.popleft()
                result = await done
                report(result)
                yield result
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _numbered(prompts: AsyncPrompts) -> AsyncIterator[tuple[int, Any]]:
    index = 0
    if isinstance(prompts, AsyncIterable):
        async for prompt in prompts:
            yield index, prompt
            index += 1
        return
    for item in enumerate(prompts):
        yield item


def _failed(index: int, prompt: Any, error: TabbyError) -> MapResult[Any]:
    response = error.response if isinstance(error, OutputError) else None
    return MapResult(index, prompt, response, None, error)


# ------------------------------------------------------------------------------- progress


@contextmanager
def _reporting(plan: _Plan) -> Iterator[Callable[[MapResult[Any]], None]]:
    """Yields a function that is called with each result."""
    done = failed = 0
    tell: Callable[[int, int], object] = lambda done, failed: None  # noqa: E731
    bar: Any = None
    if callable(plan.progress):
        tell = plan.progress
    elif plan.progress and (bar := _bar()) is not None:
        task = bar.add_task("", total=plan.total)
        tell = lambda done, failed: bar.update(  # noqa: E731
            task, completed=done, description=f"{failed} failed" if failed else ""
        )

    def report(result: MapResult[Any]) -> None:
        nonlocal done, failed
        done += 1
        failed += result.error is not None
        tell(done, failed)

    if bar is None:
        yield report
        return
    with bar:
        yield report


def _bar() -> Any:
    """A progress bar on standard error; None where it would not be seen."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr)
    if not (console.is_terminal or console.is_jupyter):
        return None
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
        console=console,
    )
