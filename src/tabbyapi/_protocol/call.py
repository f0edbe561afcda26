"""A call as a value: what to send, and how to read the answer. No I/O happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

import msgspec

from ..errors import ValidationError
from ..types.options import Timeout

if TYPE_CHECKING:
    from ..types.models import ModelCard
    from .stream import StreamDecoder

__all__ = ["Auth", "Call", "Question", "StreamCall", "encode_body"]

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

Auth = Literal["open", "api", "listing", "admin"]
"""Class of a route: no key, an API key, an API key where an admin sees more, the admin key."""


class Question(msgspec.Struct, frozen=True):
    """A question about the loaded model that a call asks before its body is complete.

    Attributes:
        ask: the call for the model's card.
        then: the body to send, by the card; None stands for a server that could not tell.
    """

    ask: Call[ModelCard]
    then: Callable[[ModelCard | None], bytes]


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request and how to decode its answer.

    Attributes:
        method, path: e.g. "POST" and "/v1/chat/completions", relative to the server's root.
        body: JSON text, or None.
        decode: turns the body of a successful answer into the result.
        auth: the route's class, which decides the key header.
        accept: statuses beside 200 whose body `decode` understands.
        timeout: limits of this call; None = the client's.
        headers: sent in addition to the client's.
        patient: True if the server may rightly stay silent until it is done, for hours perhaps
            (loading, downloading): `timeout.idle` is not applied then.
        question: what to ask the server before, where the body depends on it.
        repeatable: False if the call must not be sent twice even when no answer came.
    """

    method: str
    path: str
    decode: Callable[[bytes], T]
    body: bytes | None = None
    auth: Auth = "api"
    accept: tuple[int, ...] = ()
    timeout: Timeout | float | None = None
    headers: Mapping[str, str] | None = None
    patient: bool = False
    repeatable: bool = True
    question: Question | None = None

    def answered(self, card: ModelCard | None) -> Self:
        """The call to send, after its question was answered; None = the server could not tell.

        Raises:
            ValidationError: the loaded model cannot do what is asked.
        """
        if self.question is None:
            return self
        return msgspec.structs.replace(self, body=self.question.then(card), question=None)


class StreamCall(Call[R], Generic[C, R], frozen=True, kw_only=True):
    """A call answered by server-sent events: chunks `C`, assembled into `R`.

    A server that has streaming switched off answers with plain JSON: `decode` reads it and
    `as_chunk` makes it the one chunk of the stream.
    """

    decoder: Callable[[], StreamDecoder[C, R]]
    as_chunk: Callable[[R], C]


_encode = msgspec.json.Encoder(decimal_format="number").encode
UNSENDABLE = (TypeError, ValueError, msgspec.MsgspecError, RecursionError)
"""What encoding raises for a value that has no JSON form."""


def encode_body(fields: Mapping[str, Any]) -> bytes:
    """JSON of a request's fields.

    Raises:
        ValidationError: a value has no JSON form; the field is named.
    """
    try:
        return _encode(fields)
    except UNSENDABLE as error:
        for name, value in fields.items():
            try:
                _encode(value)
            except UNSENDABLE as problem:
                raise ValidationError(
                    f"{name} cannot be sent as JSON: {json_problem(problem)}", field=name
                ) from None
        raise ValidationError(
            f"the request cannot be sent as JSON: {json_problem(error)}"
        ) from None


def json_problem(error: Exception) -> str:
    """Why a value has no JSON form. Names a lone surrogate instead of a codec."""
    if isinstance(error, UnicodeEncodeError):
        half = error.object[error.start]
        return (
            f"its text holds {half!r}, half of a character, as file names that are not UTF-8 do. "
            "Use text.encode(errors='replace').decode()"
        )
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or holds itself"
    return str(error)
