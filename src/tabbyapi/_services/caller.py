"""Base of the services, and the two verbs of a client that they are written against.

A service imports no client: anything that sends calls and opens streams will do.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
)

from .._protocol.call import Call, StreamCall
from .._protocol.decode import JSONError
from ..types.options import Timeout

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream
    from .raw import RawService

__all__ = [
    "AsyncCaller",
    "AsyncService",
    "Caller",
    "Service",
    "TimeoutLike",
    "nothing",
    "show_parameters",
]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")

TimeoutLike: TypeAlias = Timeout | float | None
"""Limits for a call: seconds in all, or a `Timeout`. None: the client's."""


class Caller(Protocol):
    """Sends calls and waits for the answers: `Client`."""

    def send(self, call: Call[T], /) -> T: ...

    def open_stream(self, call: StreamCall[C, R], /) -> Stream[C, R]: ...


class AsyncCaller(Protocol):
    """`Caller`, awaited: `AsyncClient`."""

    async def send(self, call: Call[T], /) -> T: ...

    def open_stream(self, call: StreamCall[C, R], /) -> AsyncStream[C, R]: ...


def nothing(body: bytes) -> None:
    """Read the `null` of routes without a result, or the empty body that YALS sends.

    Raises:
        JSONError: anything else, such as an error under a good status.
    """
    if body.strip() not in (b"", b"null"):
        raise JSONError("null was expected")


# ---------------------------------------------------------------- signatures at run time

_DESCRIBED_IN = {
    "RunParams": "tabbyapi.tools.run",
    "ManyParams": "tabbyapi.many",
    "ConversationOptions": "tabbyapi.conversation.settings",
}
"""Modules of the `TypedDict`s that services import for type checkers only."""


def show_parameters(cls: type) -> None:
    """Let `inspect.signature` and `help` show the parameters behind `**params: Unpack[...]`."""
    for method in vars(cls).values():
        if not inspect.isfunction(method):
            continue
        described = str(method.__annotations__.get(_rest(method), ""))
        if described.startswith("Unpack["):
            name = described.removeprefix("Unpack[").removesuffix("]")
            home = _DESCRIBED_IN.get(name, method.__module__)
            method.__signature__ = _Signature(  # type: ignore[attr-defined]
                inspect.signature(method), home, name
            )


def _rest(method: Any) -> str:
    """Name of the `**` parameter, which comes last of a function's variables for arguments."""
    code = method.__code__
    if not code.co_flags & inspect.CO_VARKEYWORDS:
        return ""
    before = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    return str(code.co_varnames[before])


class _Signature(inspect.Signature):
    """A signature whose last parameter is replaced by the fields of a `TypedDict`, when asked."""

    __slots__ = ("_home", "_name", "_plain", "_shown")

    def __init__(self, plain: inspect.Signature, home: str, name: str) -> None:
        super().__init__(return_annotation=plain.return_annotation)
        self._plain, self._home, self._name = plain, home, name
        self._shown: inspect.Signature | None = None

    @property
    def parameters(self) -> Any:
        if self._shown is None:
            fields = getattr(import_module(self._home), self._name).__annotations__
            *stated, _ = self._plain.parameters.values()
            self._shown = inspect.Signature([*stated, *map(_keyword, fields, fields.values())])
        return self._shown.parameters

    def replace(self, **changes: Any) -> Any:
        return inspect.Signature([*self.parameters.values()]).replace(
            **{"return_annotation": self.return_annotation, **changes}
        )


def _keyword(name: str, kind: Any) -> inspect.Parameter:
    if get_origin(kind) is Annotated:  # shown without its rule
        kind = get_args(kind)[0]
    kind = getattr(kind, "__forward_arg__", kind)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


# ---------------------------------------------------------------- services


class _Service:
    """What the services of both clients share."""

    _client: Any

    def __init_subclass__(cls) -> None:
        show_parameters(cls)

    @property
    def with_raw_response(self) -> RawService:
        """The same methods, with status, headers and time beside the result: `RawResponse`."""
        from .raw import RawService

        return RawService(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"


class Service(_Service):
    """Base of the services of `Client`."""

    def __init__(self, client: Caller) -> None:
        self._client: Caller = client


class AsyncService(_Service):
    """Base of the services of `AsyncClient`."""

    def __init__(self, client: AsyncCaller) -> None:
        self._client: AsyncCaller = client
