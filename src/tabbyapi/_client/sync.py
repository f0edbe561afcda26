"""`Client`: sends calls over the blocking transport, and waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from .._protocol import observing
from .._protocol.call import Call, StreamCall
from .._streaming.sync import Stream
from .._transport.base import Answer, Transport, is_event_stream, read_body
from .._transport.factory import transport_for
from ..errors import TabbyError
from .base import BaseClient
from .custom import RequestOptions, custom_call

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from .._services.auth import Auth
    from .._services.chat import Chat
    from .._services.completions import Completions
    from .._services.embeddings import Embeddings
    from .._services.health import Health
    from .._services.lora import Lora
    from .._services.models import Models
    from .._services.sampling import Sampling
    from .._services.templates import Templates
    from .._services.tokens import Tokens
    from ..conversation import Conversation
    from ..conversation.settings import ConversationOptions
    from ..tools.run import RunParams
    from ..types.messages import ContentLike

__all__ = ["Client"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")
AnyCall = TypeVar("AnyCall", bound=Call[Any])


class Client(BaseClient):
    """A client of a TabbyAPI server. Thread-safe; make a new one after fork.

    Args:
        base_url: the server's root, e.g. "http://localhost:5000"; a trailing `/` or `/v1` is
            fine. Default: TABBY_API_ENDPOINT, then http://localhost:5000.
        api_key: for ordinary routes. Default: TABBY_API_KEY; without either key, for a server
            on this machine, the keys that `tabbyapi serve` made up.
        admin_key: for admin routes, and for ordinary ones if there is no other. Default:
            TABBY_ADMIN_KEY, then as for `api_key`.
        bearer_token: sent as `Authorization: Bearer` where none of the others applies.
        timeout: seconds for a whole call, or a `Timeout`. Default: no limit in all, but 600 s of
            silence.
        retry: a `RetryPolicy`, a number of retries, or any object with `delay` (see `Retry`).
        headers: added to every request.
        limits: how large an answer may be before it is given up, see `Limits`.
        uds: path of the Unix socket that the server listens on. base_url may say the same as
            `http+unix:///path`.
        proxy: `http://`, `https://`, `socks5://` or `socks4://` address, with a login if it wants
            one; False for none. Default: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, which
            are never used for this machine. SOCKS needs the extra `socks`.
        verify: True to trust what the system trusts (or SSL_CERT_FILE, SSL_CERT_DIR), a file or
            folder of certificates, an `ssl.SSLContext`, or False to trust any server.
        cert: this client's certificate: a file, (certificate, key) or (certificate, key, password).
        event_hooks: functions to call: `{"request": [f(request)], "response": [f(request,
            answer)], "retry": [f(request, error, seconds)]}`; see `EventHooks`.
        transport: sends requests instead of the client's own connections; see
            `tabbyapi.testing.MockTransport`.

    Raises:
        ValidationError: an argument that cannot be used.
    """

    chat: Chat
    """Chat completions."""
    completions: Completions
    """Text completions."""
    embeddings: Embeddings
    """Vectors of texts."""
    models: Models
    """Listing, loading, unloading and downloading models."""
    lora: Lora
    """LoRA adapters."""
    templates: Templates
    """Chat templates."""
    tokens: Tokens
    """Counting, encoding and decoding tokens."""
    sampling: Sampling
    """Sampler overrides."""
    health: Health
    """The server's health."""
    auth: Auth
    """What the client's key may do."""
    _transport: Transport

    def _make_transport(self, given: object | None, **connection: Any) -> Transport:
        return transport_for(self.base_url, given, **connection)

    def send(self, call: Call[T], *, seen: list[tuple[Answer, float]] | None = None) -> T:
        """Send a call and return its result, trying again as the retry policy says.

        Args:
            call: made by a service.
            seen: takes the answer and the seconds it took.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        if observing.observer is None or (operation := self._observed(call)) is None:
            return self._send(call, seen)
        with operation:
            result = self._send(operation.call(call), seen)
        operation.end(result)
        return result

    def _send(self, call: Call[T], seen: list[tuple[Answer, float]] | None) -> T:
        call = self._asked(call)
        request = self._request_of(call)
        attempt = 1
        while True:
            answer = None
            started = time.perf_counter()
            try:
                self._tell("request", request)
                answer = self._transport.send(request)
                self._tell("response", request, answer)
                return self._result(call, request, answer, started, seen)
            except TabbyError as error:
                failure = error
                wait = self._wait_after(
                    request, error, attempt, started, answered=answer is not None
                )
            self._tell("retry", request, failure, wait)
            attempt += 1
            time.sleep(wait)

    def _asked(self, call: AnyCall) -> AnyCall:
        """The call with its question answered, if it has one."""
        if call.question is None:
            return call
        card = self._remembered()
        if card is None:
            with suppress(TabbyError):
                card = self.send(call.question.ask)
                self._card = monotonic(), card
        return call.answered(card)

    def open_stream(
        self, call: StreamCall[C, R], *, seen: list[tuple[Answer, float]] | None = None
    ) -> Stream[C, R]:
        """Send a call whose answer is a stream; returns once the server has accepted it.

        Args:
            call: made by a service.
            seen: takes the head of the answer and the seconds it took.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        if observing.observer is None or (operation := self._observed(call)) is None:
            return self._open_stream(call, seen)
        with operation:
            stream = self._open_stream(operation.call(call), seen)
        stream._observe(operation)
        return stream

    def _open_stream(
        self, call: StreamCall[C, R], seen: list[tuple[Answer, float]] | None
    ) -> Stream[C, R]:
        call = self._asked(call)
        request = self._request_of(call)
        attempt = 1
        while True:
            answer = None
            started = time.perf_counter()
            try:
                self._tell("request", request)
                source = self._transport.open(request)
                if is_event_stream(source.status, source.headers):
                    answer = Answer(source.status, source.headers, b"")
                    stream = Stream(call, request, source)
                    stream._on_end = self._ended(request, answer, started)
                    if seen is not None:
                        seen.append((answer, time.perf_counter() - started))
                    self._tell("response", request, answer, undo=stream.close)
                    return stream
                answer = Answer(source.status, source.headers, read_body(source, request))
                self._tell("response", request, answer)
                return Stream(
                    call, request, None, self._result(call, request, answer, started, seen)
                )
            except TabbyError as error:
                failure = error
                wait = self._wait_after(
                    request, error, attempt, started, answered=answer is not None
                )
            self._tell("retry", request, failure, wait)
            attempt += 1
            time.sleep(wait)

    def _tell(self, event: str, *facts: object, undo: Callable[[], object] | None = None) -> None:
        """Call the hooks of an event; `undo` what one of them breaks off."""
        if not self._hooks:
            return
        try:
            for hook in self._hooks.get(event, ()):
                hook(*facts)
        except BaseException:
            if undo is not None:
                undo()
            raise

    @overload
    def request(
        self, method: str, path: str, *, cast_to: type[T], **options: Unpack[RequestOptions]
    ) -> T: ...
    @overload
    def request(
        self, method: str, path: str, *, cast_to: Any = ..., **options: Unpack[RequestOptions]
    ) -> Any: ...
    def request(
        self, method: str, path: str, *, cast_to: Any = Any, **options: Unpack[RequestOptions]
    ) -> Any:
        """Call a route that this client has no method for.

            client.request("POST", "/v1/new-route", json={"text": "Hello"}, cast_to=dict)

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: of the route, from the server's root.
            cast_to: type of the result: a msgspec Struct, dataclass or the like, a plain type,
                or `bytes` for the body as it is. Default: whatever the JSON holds.
            options: `json` (a value for the body), `auth` (the route's class: "api", "admin" or
                "open"), `timeout`, `extra_headers`.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        return self.send(custom_call(method, path, cast_to, options))

    def conversation(
        self, system: ContentLike | None = None, **options: Unpack[ConversationOptions]
    ) -> Conversation:
        """A conversation that keeps its history, and keeps it within the model's context.

        Args:
            system: the system message. It is sent with every request, whatever is left out.
            options: see `ConversationOptions`: how the conversation behaves, and parameters of
                every request, as for `client.chat.create` and `run`.

        Raises:
            ValidationError: an argument that cannot be used.
        """
        from ..conversation import Conversation

        return Conversation.begin(self, system, options)

    def load_conversation(
        self, path: str | PathLike[str], **changes: Unpack[RunParams]
    ) -> Conversation:
        """A conversation that `save` wrote, to go on with.

        Args:
            path: the file.
            changes: parameters that differ from the saved ones, e.g. `tools`, whose functions
                no file can hold.

        Raises:
            ValidationError: the file is no saved conversation, or of a newer version.
            OSError: it cannot be read.
        """
        from ..conversation import Conversation

        return Conversation.load(path, self, **changes)

    def close(self) -> None:
        """Close idle connections. The client cannot be used afterwards, nor can its copies."""
        if self._close():
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
