"""`client.chat.with_raw_response.create(...)`: status, headers and time beside the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._protocol.call import Call
from ..errors import TabbyError

if TYPE_CHECKING:
    from .._transport.base import Answer

__all__ = ["RawResponse", "RawService"]

T = TypeVar("T")


class RawResponse(Generic[T]):
    """The HTTP answer behind a result.

    Attributes:
        status: e.g. 200.
        headers: names in lower case.
        body: as received; b"" of a stream.
        elapsed: seconds from sending to the whole answer; of a stream, to its head.
    """

    def __init__(
        self, answer: Answer, elapsed: float, result: T | None, error: TabbyError | None
    ) -> None:
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.body: bytes = answer.body
        self.elapsed: float = elapsed
        self._result: T | None = result
        self._error: TabbyError | None = error

    def parse(self) -> T:
        """The result that the method returns without `with_raw_response`.

        Raises:
            RequestError: the answer is not what TabbyAPI sends here.
        """
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"RawResponse({self.status}, {len(self.body)} bytes, {self.elapsed:.3f} s)"


class _Recording:
    """A client that takes down the answer of its last call."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.seen: list[tuple[Answer, float]] = []

    def send(self, call: Call[T]) -> Any:
        return self._client.send(call, seen=self.seen)

    def open_stream(self, call: Any) -> Any:
        return self._client.open_stream(call, seen=self.seen)

    def raw(self, result: Any, error: TabbyError | None = None) -> RawResponse[Any]:
        answer, elapsed = self.seen[-1]
        return RawResponse(answer, elapsed, result, error)

    def is_unreadable(self, error: TabbyError) -> bool:
        """Whether the answer was a good one by its status, and only its body made no sense."""
        return error.status_code is None and bool(self.seen) and self.seen[-1][0].status < 300


class RawService:
    """The methods of a service; each returns a `RawResponse`, awaited with an `AsyncClient`."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., Any]:
        service = self._service
        if name.startswith("_") or not callable(getattr(service, name, None)):
            raise AttributeError(f"{type(service).__name__!r} object has no method {name!r}")

        def method(*args: Any, **params: Any) -> Any:
            recording = _Recording(service._client)
            try:
                result = getattr(type(service)(recording), name)(*args, **params)
            except TabbyError as error:
                if recording.is_unreadable(error):
                    return recording.raw(None, error)
                raise
            if hasattr(result, "__await__"):
                return _awaited(result, recording)
            return recording.raw(result)

        return method


async def _awaited(result: Any, recording: _Recording) -> RawResponse[Any]:
    try:
        value = await result  # a coroutine, or a stream that is opened by this
    except TabbyError as error:
        if recording.is_unreadable(error):
            return recording.raw(None, error)
        raise
    return recording.raw(value)
