"""What a client shows of itself: log lines, and hooks that a program hangs in.

Logger `tabbyapi`: INFO has one line for each request, WARNING one for each retry, DEBUG the bodies,
prompts among them. Keys are in none. `logging` is slow to import and is not imported for this:
without it nothing has been configured that could listen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from .._transport.base import Answer, Request
from ..errors import TabbyError, ValidationError

if TYPE_CHECKING:
    from logging import Logger

__all__ = [
    "EventHooks",
    "checked_hooks",
    "log_answer",
    "log_failure",
    "log_retry",
    "logs_requests",
    "set_up_logging",
]

EventHooks: TypeAlias = Mapping[str, Iterable[Callable[..., Any]]]
"""Functions by event: "request" (`Request`), "response" (`Request`, `Answer`; that of a stream has
no body) and "retry" (`Request`, `TabbyError`, seconds to wait). Each is called for every try."""

_EVENTS = ("request", "response", "retry")
_LEVELS = ("debug", "info", "warning", "error")
_INFO, _WARNING, _DEBUG = 20, 30, 10
_SHOWN = 10_000  # characters of a body


def checked_hooks(hooks: EventHooks | None) -> dict[str, tuple[Callable[..., Any], ...]]:
    """Hooks by event.

    Raises:
        ValidationError: an unknown event, or something that cannot be called.
    """
    if hooks is None:
        return {}
    if not isinstance(hooks, Mapping):
        raise _bad_hooks("must be a dict of lists of functions")
    found = {}
    for event, functions in hooks.items():
        if event not in _EVENTS:
            raise _bad_hooks(f"has {event!r}, but the events are {', '.join(_EVENTS)}")
        if callable(functions) or not isinstance(functions, Iterable):
            raise _bad_hooks(f"of {event!r} must be a list of functions")
        found[event] = tuple(functions)
        if not all(map(callable, found[event])):
            raise _bad_hooks(f"of {event!r} holds something that cannot be called")
    return found


def _bad_hooks(why: str) -> ValidationError:
    return ValidationError(f"event_hooks {why}", field="event_hooks")


def set_up_logging() -> None:
    """Log to standard error at the level of TABBY_LOG, unless logging is configured already.

    Raises:
        ValidationError: there is no such level.
    """
    level = os.environ.get("TABBY_LOG", "").strip().lower()
    if not level:
        return
    if level not in _LEVELS:
        raise ValidationError(
            f"TABBY_LOG is {level!r}, but must be one of {', '.join(_LEVELS)}", field="TABBY_LOG"
        )
    import logging

    logger = logging.getLogger("tabbyapi")
    logger.setLevel(level.upper())
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)


def log_at(level: int) -> Logger | None:
    """The logger, if a line of this level would be seen."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    logger: Logger = logging.getLogger("tabbyapi")
    return logger if logger.isEnabledFor(level) else None


def logs_requests() -> bool:
    """Whether the lines of requests would be seen."""
    return log_at(_INFO) is not None


def log_answer(request: Request, answer: Answer, started: float, result: object = None) -> None:
    """A line for a request that was answered. `started`: by `time.perf_counter()`."""
    logger = log_at(_INFO)
    if logger is None:
        return
    logger.info("%s%s", _line(request, f"{answer.status}", started), _tokens(result))
    if logger.isEnabledFor(_DEBUG):
        logger.debug("request body: %s", _shown(request.body))
        logger.debug("answer body: %s", _shown(answer.body))


def log_failure(request: Request, error: BaseException, started: float) -> None:
    """A line for a request that got no answer."""
    logger = log_at(_INFO)
    if logger is not None:
        kind = type(error).__name__
        logger.info("%s: %s", _line(request, kind, started), str(error)[:500])
        if logger.isEnabledFor(_DEBUG):
            logger.debug("request body: %s", _shown(request.body))


def log_retry(error: TabbyError, wait: float, attempt: int) -> None:
    """A line for a try that failed and is repeated."""
    logger = log_at(_WARNING)
    if logger is not None:
        logger.warning("try %d failed, next in %.2f s: %s", attempt, wait, str(error)[:500])


def _line(request: Request, outcome: str, started: float) -> str:
    path = request.url.partition("://")[2].partition("/")[2]
    spent = (time.perf_counter() - started) * 1e3
    return f"{request.method} /{path} {outcome} in {spent:.0f} ms"


def _tokens(result: object) -> str:
    usage = getattr(result, "usage", None)
    prompt = getattr(usage, "prompt_tokens", None)
    if prompt is None:
        return ""
    made = getattr(usage, "completion_tokens", None)
    return f", {prompt} tokens" if made is None else f", {prompt} + {made} tokens"


def _shown(body: bytes | None) -> str:
    if not body:
        return "-"
    text = body[: _SHOWN * 4].decode("utf-8", "replace")
    return text if len(body) <= _SHOWN else f"{text[:_SHOWN]}... ({len(body):,} bytes)"
