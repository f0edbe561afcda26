"""What both clients know: the endpoint, the policy, and how a call becomes a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from . import process
from .errors import RequestError, TabbyError
from .protocol.answers import decode_answer, error_of_answer
from .protocol.call import Call, StreamCall
from .protocol.endpoint import Endpoint, checked_limits
from .protocol.retry import Retry, RetryPolicy
from .transport.request import Answer, Request
from .types.limits import Limits
from .types.timeout import Timeout

__all__ = ["ClientCore"]

T = TypeVar("T")


class ClientCore:
    """What both clients know: the endpoint, the policy, and how a call becomes a request."""

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
        http_client: Any = None,
    ) -> None:
        self._endpoint = Endpoint(
            base_url,
            api_key=api_key,
            admin_key=admin_key,
            bearer_token=bearer_token,
            headers=headers,
            timeout=timeout,
        )
        if isinstance(retry, int):
            retry = RetryPolicy(max_retries=retry)
        self._retry: Retry = RetryPolicy() if retry is None else retry
        self._limits = checked_limits(limits)
        self._http_client = http_client
        self._closed = False
        self._process = process.number

    @property
    def base_url(self) -> str:
        """The server's root."""
        return self._endpoint.url

    def _request_of(self, call: Call[Any]) -> Request:
        if self._closed:
            raise RequestError("this client is closed; make a new one", sent=False)
        if self._process != process.number:
            raise RequestError(
                "this client was made in another process, and its connections cannot be shared; "
                "make a new client after fork",
                sent=False,
            )
        endpoint = self._endpoint
        timeout = endpoint.timeout_of(call)
        patient = call.patient and not isinstance(call, StreamCall)
        return Request(
            call.method,
            endpoint.url + call.path,
            endpoint.headers(call),
            call.body,
            timeout,
            None if patient else timeout.idle,
            self._limits,
        )

    def _result(self, call: Call[T], request: Request, answer: Answer) -> T:
        """What a complete answer means; raises the error it stands for."""
        if answer.status == 200 or answer.status in call.accept:
            kind = answer.headers.get("content-type", "")
            return decode_answer(call, request.url, answer.status, kind, answer.body)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        raise error_of_answer(call, request.url, answer.status, headers, answer.body)

    def _wait_after(self, call: Call[Any], error: TabbyError, attempt: int) -> float:
        """Seconds until the next try; raises the error if there is none."""
        wait = self._retry.delay(error, attempt) if call.repeatable else None
        if wait is None:
            raise error
        return wait

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"
