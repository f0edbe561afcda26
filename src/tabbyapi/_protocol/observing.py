"""Where `tabbyapi.telemetry` hangs in. Until it does, `observer` is None, which is all that a
request pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TypeVar

from .call import Call

__all__ = ["Observer", "Operation", "observe", "observer"]

T = TypeVar("T")
AnyCall = TypeVar("AnyCall", bound=Call[Any])


class Operation(Protocol):
    """A call of the model that is being observed.

    It is current inside its `with` block, which ends it if the call fails there. Otherwise `end`
    does, once: after the block for a complete answer, or at the end of its stream.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def call(self, call: AnyCall, /) -> AnyCall:
        """The call to send, with the headers that carry the trace to the server."""
        ...

    def chunk(self) -> None:
        """Chunks of a stream have arrived."""
        ...

    def end(self, result: object, error: BaseException | None = None) -> None:
        """The answer, as far as it came, and what broke it off."""
        ...


class Observer(Protocol):
    """Observes the calls of a client, and of tools."""

    def begin(self, call: Call[Any], url: str) -> Operation | None:
        """Begin to observe a call to the server at `url`; None if it is of no interest."""
        ...

    def invoke(self, call: Any, function: Callable[[], Any]) -> Any:
        """Run a tool's function for a `PendingCall`."""
        ...


observer: Observer | None = None


def observe(new: Observer | None) -> None:
    """Set the observer; None ends observing."""
    global observer
    observer = new
