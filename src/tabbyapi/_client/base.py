"""What both clients share: endpoint, policy, and how a call becomes a request.

A client is open until `close`. Copies made by `with_options` use the connections of the client
they were made from; they end with it, and closing one of them closes no connection.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from copy import copy
from os import PathLike
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from .._protocol import observing
from .._protocol.call import Call
from .._protocol.endpoint import Endpoint, as_limits, as_retry
from .._protocol.responses import decode_answer, error_of_answer
from .._services.caller import show_parameters
from .._transport import fork
from .._transport.base import Answer, Request, begun, time_left
from ..errors import RequestError, TabbyError
from ..types.options import Limits, Retry, Timeout
from .local_keys import with_local_keys
from .observe import (
    EventHooks,
    checked_hooks,
    log_answer,
    log_failure,
    log_retry,
    logs_requests,
    set_up_logging,
)

if TYPE_CHECKING:
    from .._transport.tls import Cert, Verify
    from ..types.models import ModelCard

__all__ = ["BaseClient"]

T = TypeVar("T")


class BaseClient:
    """What both clients share."""

    _prefix: ClassVar[str] = ""
    """What the names of the service classes begin with."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        admin_key: str | None = None,
        bearer_token: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | int | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        uds: str | PathLike[str] | None = None,
        proxy: str | Literal[False] | None = None,
        verify: Verify = True,
        cert: Cert | None = None,
        event_hooks: EventHooks | None = None,
        transport: Any = None,
    ) -> None:
        if "TABBY_LOG" in os.environ:
            set_up_logging()
        self._endpoint = Endpoint(
            base_url,
            api_key=api_key,
            admin_key=admin_key,
            bearer_token=bearer_token,
            headers=headers,
            timeout=timeout,
            uds=uds,
            find_keys=with_local_keys,
        )
        self._retry: Retry = as_retry(retry)
        self._limits = as_limits(limits)
        self._hooks = checked_hooks(event_hooks)
        self._transport = self._make_transport(
            transport, uds=self._endpoint.uds, proxy=proxy, verify=verify, cert=cert
        )
        self._origin: BaseClient = self
        self._closed = False
        self._pid = fork.pid
        self._card: tuple[float, ModelCard] | None = None

    def __init_subclass__(cls) -> None:
        show_parameters(cls)

    def _make_transport(self, given: object | None, **connection: Any) -> Any:
        raise NotImplementedError

    @property
    def base_url(self) -> str:
        """The server's root."""
        return self._endpoint.url

    def with_options(
        self,
        *,
        timeout: Timeout | float | None = None,
        retry: Retry | int | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Self:
        """A copy with other options, over the same connections. It costs next to nothing.

            client.with_options(timeout=5).health.check()

        Args:
            timeout, retry, limits: as for the client; what is not given stays.
            headers: added to those of the client.

        Raises:
            ValidationError: an option that cannot be used.
        """
        other = copy(self)
        for name in _SERVICES:
            other.__dict__.pop(name, None)  # these belong to the client that made them
        other._endpoint = self._endpoint.changed(timeout, headers)
        if retry is not None:
            other._retry = as_retry(retry)
        if limits is not None:
            other._limits = as_limits(limits)
        return other

    def __getattr__(self, name: str) -> Any:
        """A service, imported and made when it is first used."""
        home = _SERVICES.get(name)
        if home is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        from importlib import import_module

        module = import_module(f"tabbyapi._services.{name}")
        service = getattr(module, self._prefix + home)(self)
        self.__dict__[name] = service
        return service

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_SERVICES]

    def _remembered(self) -> ModelCard | None:
        """The loaded model's card, if it was asked for a short while ago."""
        asked = self._card
        return asked[1] if asked is not None and monotonic() - asked[0] < _CARD_LASTS else None

    def _observed(self, call: Call[Any]) -> observing.Operation | None:
        """What observes a call, if there is something."""
        observer = observing.observer
        return None if observer is None else observer.begin(call, self._endpoint.url)

    def _request_of(self, call: Call[Any]) -> Request:
        if self._closed or self._origin._closed:
            raise RequestError("this client is closed; make a new one", sent=False)
        if self._pid != fork.pid:
            raise RequestError(
                "this client was made in another process, and its connections cannot be shared; "
                "make a new client after fork",
                sent=False,
            )
        endpoint = self._endpoint
        timeout = endpoint.timeout_of(call)
        request = Request(
            call.method,
            endpoint.url + call.path,
            endpoint.headers(call),
            call.body,
            timeout,
            None if call.patient else timeout.idle,
            self._limits,
            repeatable=call.repeatable,
        )
        return begun(request)

    def _result(
        self,
        call: Call[T],
        request: Request,
        answer: Answer,
        started: float,
        seen: list[tuple[Answer, float]] | None,
    ) -> T:
        """What a complete answer means; raises the error it stands for.

        Args:
            started: when the request was sent, by `time.perf_counter()`.
            seen: takes the answer and the seconds it took.
        """
        if seen is not None:
            seen.append((answer, time.perf_counter() - started))
        if call.auth == "admin":
            self._card = None  # another model may be loaded now
        result: T | None = None
        try:
            if answer.status == 200 or answer.status in call.accept:
                kind = answer.headers.get("content-type", "")
                result = decode_answer(call, request.url, answer.status, kind, answer.body)
                return result
            headers = {name.lower(): value for name, value in answer.headers.items()}
            raise error_of_answer(call, request.url, answer.status, headers, answer.body)
        finally:
            log_answer(request, answer, started, result)

    def _wait_after(
        self, request: Request, error: TabbyError, attempt: int, started: float, *, answered: bool
    ) -> float:
        """Seconds until the next try. Raises the error if there is none, or no time for one."""
        if not answered:
            log_failure(request, error, started)
        wait = self._retry.delay(error, attempt) if request.repeatable else None
        left = time_left(request)
        if wait is None or (left is not None and wait >= left):
            raise error
        log_retry(error, wait, attempt)
        return wait

    def _ended(
        self, request: Request, answer: Answer, started: float
    ) -> Callable[[object], None] | None:
        """What is told when a stream has ended: a line in the log, with the tokens."""
        if not logs_requests():
            return None

        def ended(response: object) -> None:
            log_answer(request, answer, started, response)

        return ended

    def _close(self) -> bool:
        """Mark as closed. True for the first call on a client that owns its connections."""
        was_open, self._closed = not self._closed, True
        return was_open and self._origin is self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"


_CARD_LASTS = 60.0  # seconds that the loaded model's card is believed

_SERVICES = {
    "chat": "Chat",
    "completions": "Completions",
    "embeddings": "Embeddings",
    "models": "Models",
    "lora": "Lora",
    "templates": "Templates",
    "tokens": "Tokens",
    "sampling": "Sampling",
    "health": "Health",
    "auth": "Auth",
}
"""Class of each service, by the name of its attribute and of its module in `_services`."""
