"""Every error this library raises, in one tree.

    TabbyError
    ├─ APIError                      the server answered with an error
    │  ├─ InvalidRequestError        400 405 422
    │  │  └─ ContextLengthError      the conversation does not fit the model's context
    │  ├─ AuthenticationError        401
    │  │  └─ PermissionDeniedError   401 about an admin key, 403
    │  ├─ NotFoundError              404
    │  ├─ RateLimitError             429
    │  └─ ServerError                5xx
    │     └─ ModelNotLoadedError     503, no model is loaded
    ├─ ValidationError               refused before sending (also a ValueError)
    ├─ RequestError                  no usable answer came
    │  ├─ ConnectError               (also a ConnectionError)
    │  └─ RequestTimeout             (also a TimeoutError)
    ├─ StreamError                   after a stream began; `partial` holds what had arrived
    │  ├─ StreamClosedError          used after it was closed
    │  ├─ StreamInterruptedError     ended without [DONE]
    │  │  └─ StreamTimeout           no data for `timeout.idle` seconds (also a RequestTimeout)
    │  └─ StreamContextLengthError   the context ran out mid-stream (also a ContextLengthError)
    └─ OutputError                   the model's answer is not of the type that was asked for
       └─ ToolLoopError              the tool loop cannot go on; `messages` holds what was said

Each has `.code` (a stable string), `.status_code` (None where there was no answer) and a
message that says what was wrong, where, and what to do. No key is ever part of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = [
    "APIError",
    "AuthenticationError",
    "ConnectError",
    "ContextLengthError",
    "InvalidRequestError",
    "ModelNotLoadedError",
    "NotFoundError",
    "OutputError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestError",
    "RequestTimeout",
    "ServerError",
    "StreamClosedError",
    "StreamContextLengthError",
    "StreamError",
    "StreamInterruptedError",
    "StreamTimeout",
    "TabbyError",
    "ToolLoopError",
    "ValidationError",
]


class TabbyError(Exception):
    """Base of every error of this library.

    Attributes:
        messages: of an error that ended a tool loop: all new messages up to the last round that
            was answered, to go on from with `chat.run([*messages, *error.messages], ...)`.
    """

    code: ClassVar[str] = "tabby_error"
    status_code: int | None = None
    messages: Sequence[Any] = ()

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


# ---------------------------------------------------------------- the server said no


class APIError(TabbyError):
    """The server answered with an error.

    `str(error)` says all of it: request, status, the server's words, field errors, advice.

    Attributes:
        status_code: HTTP status of the answer, None for an error inside a stream.
        message: what was wrong, in the server's words where it had any.
        hint: what to do about it, "" if that is clear.
        details: the server's field errors, one readable line each; empty if it sent none.
        body: the answer's body as text, cut to a readable length.
        method, url: the request that was refused.
        retry_after: seconds after which the server wants to be asked again (429, 502, 503 and 504
            may say so), None if it did not say.
    """

    code = "api_error"

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        hint: str = "",
        details: Sequence[str] = (),
        body: str = "",
        method: str = "",
        url: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.hint = hint
        self.details: list[str] = list(details)
        self.body = body
        self.method = method
        self.url = url
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f"{self.method} {self.url}: " if self.url else ""
        status = f"{self.status_code} " if self.status_code is not None else ""
        text = f"{where}{status}{self.message}"
        text += "".join(f"\n  {line}" for line in self.details)
        if self.hint:
            text += ("\n" if self.details else " ") + f"({self.hint})"
        return text


class InvalidRequestError(APIError):
    """The server refused the request as malformed or impossible (400, 405, 422)."""

    code = "invalid_request"


class ContextLengthError(InvalidRequestError):
    """Prompt and answer do not fit the model's context window."""

    code = "context_length_exceeded"


class AuthenticationError(APIError):
    """No key, or a wrong one (401)."""

    code = "authentication_error"


class PermissionDeniedError(AuthenticationError):
    """The key is good, but the route needs the admin key (401 or 403)."""

    code = "permission_error"


class NotFoundError(APIError):
    """The server does not know this path (404)."""

    code = "not_found"


class RateLimitError(APIError):
    """Too many requests (429); `retry_after` says when to try again, if the server said so."""

    code = "rate_limit_exceeded"


class ServerError(APIError):
    """The server failed (5xx)."""

    code = "server_error"


class ModelNotLoadedError(ServerError):
    """The server runs, but no model is loaded (503)."""

    code = "model_not_loaded"


# ------------------------------------------------------------- refused before sending


class ValidationError(TabbyError, ValueError):
    """The request was refused before it was sent; `field` names the parameter."""

    code = "validation_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


# --------------------------------------------------------------- no usable answer came


class RequestError(TabbyError):
    """No usable answer: the connection failed, or what came back is not TabbyAPI's protocol.

    Attributes:
        sent: False if the server certainly never saw the request, so it is safe to repeat.
        answered: True once any byte of an answer had arrived.
    """

    code = "request_error"

    def __init__(self, message: str, *, sent: bool = True, answered: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.answered = answered


class ConnectError(RequestError, ConnectionError):
    """No connection to the server could be made.

    Attributes:
        reason: the message without the general advice on where to look for a server.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool = False,
        answered: bool = False,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, sent=sent, answered=answered)
        self.reason: str = reason or message


class RequestTimeout(RequestError, TimeoutError):
    """The server did not answer in the time allowed."""


# ------------------------------------------------------------- after a stream had begun


class StreamError(TabbyError):
    """A stream failed after it began.

    Attributes:
        partial: the response assembled from what had arrived (the type that the non-streaming
            call returns), or None if nothing had.
        trace: the server's traceback, if it is set to send one.
    """

    code = "stream_error"

    def __init__(self, message: str, *, partial: Any = None, trace: str | None = None) -> None:
        super().__init__(message)
        self.partial = partial
        self.trace = trace


class StreamClosedError(StreamError):
    """The stream was read after it was closed."""


class StreamInterruptedError(StreamError):
    """The stream ended without `[DONE]`: the answer is incomplete."""


class StreamTimeout(StreamInterruptedError, RequestTimeout):
    """No data for `timeout.idle` seconds, or the stream took longer than `timeout.total`."""

    def __init__(self, message: str, *, partial: Any = None) -> None:
        StreamInterruptedError.__init__(self, message, partial=partial)
        self.sent = self.answered = True


class StreamContextLengthError(StreamError, ContextLengthError):
    """The context window ran out while the answer was being streamed."""

    code = "context_length_exceeded"

    def __init__(self, message: str, *, partial: Any = None, trace: str | None = None) -> None:
        ContextLengthError.__init__(
            self,
            message,
            hint="shorten the conversation, or ask for fewer tokens with max_tokens",
        )
        self.partial = partial
        self.trace = trace


# --------------------------------------------------------- an answer of the wrong type


class OutputError(TabbyError):
    """The model's answer could not be read as the type that was asked for.

    Attributes:
        text: the answer's text, whole.
        position: where reading failed (a JSON path or a character offset), None if unknown.
        response: the response the text came in, if there is one.
    """

    code = "output_error"

    def __init__(
        self, message: str, *, text: str = "", position: str | None = None, response: Any = None
    ) -> None:
        super().__init__(message)
        self.text = text
        self.position = position
        self.response = response


class ToolLoopError(OutputError):
    """The tool loop cannot go on: a call was cut off or unreadable, or the rounds are used up."""

    code = "tool_loop_error"

    def __init__(
        self, message: str, *, text: str = "", response: Any = None, messages: Sequence[Any] = ()
    ) -> None:
        super().__init__(message, text=text, response=response)
        self.messages: Sequence[Any] = list(messages)
