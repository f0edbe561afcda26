"""`Client`: sends calls over the blocking transport, and waits."""

from __future__ import annotations

import time
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from .._protocol.call import Call, StreamCall
from .._streaming.sync import Stream
from .._transport.base import Answer, Transport, is_event_stream, read_body
from .._transport.factory import transport_for
from ..errors import TabbyError
from .base import BaseClient, log

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
        api_key: for ordinary routes. Default: TABBY_API_KEY.
        admin_key: for admin routes, and for ordinary ones if there is no other. Default:
            TABBY_ADMIN_KEY.
        bearer_token: sent as `Authorization: Bearer` where none of the others applies.
        timeout: seconds for a whole call, or a `Timeout`. Default: no limit on a healthy call.
        retry: a `RetryPolicy`, a number of retries, or an object of one's own (see `Retry`).
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

    def send(self, call: Call[T]) -> T:
        """Sends a call and returns its result, trying again as the retry policy says.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        call = self._asked(call)
        request = self._request_of(call)
        attempt = 1
        while True:
            try:
                return self._result(call, request, self._transport.send(request))
            except TabbyError as error:
                wait = self._wait_after(request, error, attempt)
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

    def open_stream(self, call: StreamCall[C, R]) -> Stream[C, R]:
        """Sends a call whose answer is a stream; returns once the server has accepted it.

        Raises:
            TabbyError: see `tabbyapi.errors`.
        """
        call = self._asked(call)
        request = self._request_of(call)
        attempt = 1
        while True:
            try:
                source = self._transport.open(request)
                if is_event_stream(source.status, source.headers):
                    log.debug("%s %s: %d, a stream", call.method, request.url, source.status)
                    return Stream(call, request, source)
                body = read_body(source, request)
                answer = Answer(source.status, source.headers, body)
                return Stream(call, request, None, self._result(call, request, answer))
            except TabbyError as error:
                wait = self._wait_after(request, error, attempt)
            attempt += 1
            time.sleep(wait)

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
