"""Run the tool loop: send its requests and make its calls, sync and async."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from ..types import ChatCompletionRequest, ChatParams
from ..types.chat import ChatCompletionResponse
from .loop import PendingCall, ToolLoop, ToolResult, ToolRun
from .values import joined, joined_items

__all__ = ["RunParams", "run", "run_async"]

T = TypeVar("T")
Send: TypeAlias = Callable[[Any, Mapping[str, Any]], ChatCompletionResponse]
AsyncSend: TypeAlias = Callable[[Any, Mapping[str, Any]], Awaitable[ChatCompletionResponse]]
"""Asks the model once: messages and parameters in, its answer out."""
Calls: TypeAlias = Sequence[PendingCall | ToolResult]


class RunParams(ChatParams, total=False):
    """Parameters of `chat.run`: those of every request, and of the loop."""

    max_rounds: int
    """Rounds of calls that are made before the model must answer. Default 8."""
    call_timeout: float | None
    """Seconds a call may take; the model is told of one that took longer. Default: no limit."""
    on_call: Callable[[PendingCall], bool | Awaitable[bool | None] | None] | None
    """Called before each call, in order; False declines it. May be async in `AsyncChat.run`."""
    on_result: Callable[[ToolResult], object] | None
    """Called with each result, in the order of the calls. May be async in `AsyncChat.run`."""
    raise_errors: bool
    """Raise what a tool raises (when the other calls of the round have ended), and wrong calls,
    instead of telling the model. Default False.
    """
    tools_from_text: bool
    """Read tool calls out of the text, for servers without a tool format for their model.
    Default False: unread markup raises `ToolLoopError`.
    """


_LOOP = ("call_timeout", "on_call", "on_result", "raise_errors")


def _parts(
    messages: ChatCompletionRequest | Sequence[Any], params: Mapping[str, Any]
) -> tuple[ToolLoop, dict[str, Any]]:
    """The loop, and the options of its calls."""
    options = {name: params.get(name) for name in _LOOP}
    rest = {name: value for name, value in params.items() if name not in _LOOP}
    tools = rest.pop("tools", None)
    if tools is None and isinstance(messages, ChatCompletionRequest):
        tools = messages.tools
    rounds = rest.pop("max_rounds", 8)
    from_text = rest.pop("tools_from_text", False)
    loop = ToolLoop(messages, tools or (), rest, max_rounds=rounds, tools_from_text=from_text)
    return loop, options


def run(
    send: Send, messages: ChatCompletionRequest | Sequence[Any], params: Mapping[str, Any]
) -> ToolRun:
    """Run a tool loop; see `Chat.run`."""
    loop, options = _parts(messages, params)
    on_call, on_result = options["on_call"], options["on_result"]
    with loop.keeping():
        while not loop.done:
            calls: Calls = loop.receive(send(loop.messages, loop.params))
            if on_call is not None:
                calls = [
                    call.declined()
                    if isinstance(call, PendingCall) and on_call(call) is False
                    else call
                    for call in calls
                ]
            results = _results(calls, loop.parallel, options["call_timeout"])
            loop.answer(results)
            if on_result is not None:
                for result in results:
                    on_result(result)
            if options["raise_errors"]:
                _raise_first(results)
    return loop.result


async def run_async(
    send: AsyncSend, messages: ChatCompletionRequest | Sequence[Any], params: Mapping[str, Any]
) -> ToolRun:
    """Run a tool loop; see `AsyncChat.run`."""
    loop, options = _parts(messages, params)
    on_call, on_result = options["on_call"], options["on_result"]
    with loop.keeping():
        while not loop.done:
            calls: Calls = loop.receive(await send(loop.messages, loop.params))
            if on_call is not None:
                calls = [
                    call.declined()
                    if isinstance(call, PendingCall) and await _awaited(on_call(call)) is False
                    else call
                    for call in calls
                ]
            results = await _results_async(calls, loop.parallel, options["call_timeout"])
            loop.answer(results)
            if on_result is not None:
                for result in results:
                    await _awaited(on_result(result))
            if options["raise_errors"]:
                _raise_first(results)
    return loop.result


def _raise_first(results: Sequence[ToolResult]) -> None:
    for result in results:
        if result.error is not None:
            result.error.add_note(f"in the call of the tool {result.call.function.name}")
            raise result.error


# ------------------------------------------------------------------------ making calls


def _results(calls: Calls, parallel: bool, limit: float | None) -> list[ToolResult]:
    alone = sum(isinstance(call, PendingCall) for call in calls) <= 1
    if limit is None and (alone or not parallel):
        return [_call_here(call) for call in calls]
    if not parallel:
        return [_call_in_thread(call, limit)() for call in calls]
    return [wait() for wait in [_call_in_thread(call, limit) for call in calls]]


def _call_here(call: PendingCall | ToolResult) -> ToolResult:
    if isinstance(call, ToolResult):
        return call
    if call.tool.is_async:  # asyncio.run() needs a thread where no loop is running
        return _call_in_thread(call, None)()
    since = time.monotonic()
    try:
        value = call.invoke()
        if _is_async(value):  # of a function that did not look async
            value = _in_thread(lambda: asyncio.run(_settled(value))).result()
        return call.returned(joined(value), since)
    except Exception as error:
        return call.failed(error, since)


def _call_in_thread(
    call: PendingCall | ToolResult, limit: float | None
) -> Callable[[], ToolResult]:
    """Start a call; the function returned waits for its result."""
    if isinstance(call, ToolResult):
        return lambda: call
    since = time.monotonic()
    future = _in_thread(lambda: joined(_finished(call.invoke(), limit)))

    def wait() -> ToolResult:
        left = None if limit is None else max(0.0, since + limit - time.monotonic())
        try:
            return call.returned(future.result(left), since)
        except Exception as error:
            late = isinstance(error, TimeoutError) and not future.done()
            return call.failed(_too_late(limit) if late else error, since)

    return wait


def _finished(value: Any, limit: float | None) -> Any:
    """Wait for what a tool returned, in a thread that runs no event loop."""
    return asyncio.run(_within(limit, _settled(value))) if _is_async(value) else value


async def _results_async(calls: Calls, parallel: bool, limit: float | None) -> list[ToolResult]:
    if not parallel:
        return [await _call_async(call, limit) for call in calls]
    return await asyncio.gather(*(_call_async(call, limit) for call in calls))


async def _call_async(call: PendingCall | ToolResult, limit: float | None) -> ToolResult:
    if isinstance(call, ToolResult):
        return call
    since = time.monotonic()
    try:
        if call.tool.is_async:
            work = _settled(call.invoke())
        else:
            work = _settled(asyncio.wrap_future(_in_thread(lambda: joined(call.invoke()))))
        return call.returned(await _within(limit, work), since)
    except Exception as error:
        return call.failed(error, since)


async def _within(limit: float | None, work: Awaitable[Any]) -> Any:
    clock = asyncio.timeout(limit)
    try:
        async with clock:
            return await work
    except TimeoutError:
        if clock.expired():
            raise _too_late(limit) from None
        raise


def _is_async(value: Any) -> bool:
    return inspect.isawaitable(value) or isinstance(value, AsyncIterator)


async def _settled(value: Any) -> Any:
    """The result of a tool: awaited, however deep, and joined if it is an iterator."""
    while inspect.isawaitable(value):
        value = await value
    if isinstance(value, AsyncIterator):
        return joined_items([item async for item in value])
    return joined(value)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _too_late(limit: float | None) -> TimeoutError:
    return TimeoutError(f"no result within {limit:g} s")


def _in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a function in a new daemon thread.

    Not in a pool: a pool has few threads, and waits at exit for calls that never return.
    """
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    future.set_running_or_notify_cancel()
    threading.Thread(target=work, name="tabbyapi tool call", daemon=True).start()
    return future
