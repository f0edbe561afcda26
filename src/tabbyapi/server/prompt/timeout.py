"""Work that a request could make endless, ended when its time is up."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import HTTPError

__all__ = ["with_timeout"]

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS = 5.0


class _TimeIsUp(BaseException):
    """Raised inside the work. Not an `Exception`, which the work may catch."""


async def with_timeout(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The work's result; `HTTPError` (400) if it takes too long. Costs a thread: about 0.1 ms."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        try:
            result, error = work(*arguments, **named), None
        except _TimeIsUp:
            return
        except BaseException as failure:
            result, error = None, failure
        loop.call_soon_threadsafe(settle, result, error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(_SECONDS):
            return await done
    except TimeoutError:
        raise HTTPError(400, f"The prompt took more than {_SECONDS:g} s to render.") from None
    finally:
        # Ends a loop in Python; what a single call to C does is bounded by the sandbox.
        if thread.is_alive() and thread.ident is not None and not done.done():
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(_TimeIsUp))
