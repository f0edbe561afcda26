"""Token ids of texts and messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack

from .._protocol.call import Call, encode_body
from .._protocol.decode import Decoder
from .._protocol.requests.rules import body_of
from .._protocol.requests.services import text_or_messages, token_ids_of
from ..types.messages import MessageLike
from ..types.params import DecodeParams, EncodeParams
from ..types.services import TokenDecodeResponse, TokenEncodeResponse
from .caller import AsyncService, Service

__all__ = ["AsyncTokens", "TextOrMessages", "Tokens", "decode_call", "encode_call"]

TextOrMessages: TypeAlias = str | Sequence[MessageLike]
"""Text, or a conversation, which the server puts through its chat template first."""

_encoded = Decoder(TokenEncodeResponse)
_decoded = Decoder(TokenDecodeResponse)


def _ids(body: bytes) -> list[int]:
    return _encoded(body).tokens


def _text(body: bytes) -> str:
    return _decoded(body).text


def encode_call(text: TextOrMessages, params: Mapping[str, Any]) -> Call[list[int]]:
    """The call that encodes a text.

    Raises:
        ValidationError: neither text nor messages, or a parameter that does not fit.
    """
    return Call(
        method="POST",
        path="/v1/token/encode",
        body=encode_body(text_or_messages(text, params)),
        decode=_ids,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def decode_call(tokens: Iterable[int], params: Mapping[str, Any]) -> Call[str]:
    """The call that decodes tokens.

    Raises:
        ValidationError: not token ids.
    """
    fixed = {"tokens": token_ids_of(tokens)}
    return Call(
        method="POST",
        path="/v1/token/decode",
        body=encode_body(body_of(fixed, params, DecodeParams)),
        decode=_text,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


class Tokens(Service):
    """Tokens of the loaded model. `client.tokens`.

    ids = client.tokens.encode("Hello")
    assert client.tokens.decode(ids) == "Hello"
    """

    def encode(self, text: TextOrMessages, **params: Unpack[EncodeParams]) -> list[int]:
        """Encode a text, or messages through the chat template: `POST /v1/token/encode`.

        Messages are rendered *without* the opening of the assistant's turn, so a chat request
        with them has a few tokens more.

        Args:
            text: text, or a list of messages.
            params: see `EncodeParams`.

        Raises:
            ValidationError: refused before sending.
            InvalidRequestError: messages, and the server has no chat template, or does not list
                its API servers in its configuration.
            ModelNotLoadedError: no model is loaded.
        """
        return self._client.send(encode_call(text, params))

    def decode(self, tokens: Iterable[int], **params: Unpack[DecodeParams]) -> str:
        """Decode token ids: `POST /v1/token/decode`.

        Raises:
            ValidationError: not token ids.
            ModelNotLoadedError: no model is loaded.
        """
        return self._client.send(decode_call(tokens, params))

    def count(self, text: TextOrMessages, **params: Unpack[EncodeParams]) -> int:
        """Count the tokens of a text or messages. Arguments and errors are those of `encode`."""
        return len(self.encode(text, **params))


class AsyncTokens(AsyncService):
    """Tokens of the loaded model. `client.tokens` of an `AsyncClient`."""

    async def encode(self, text: TextOrMessages, **params: Unpack[EncodeParams]) -> list[int]:
        """Encode a text or messages; see `Tokens.encode`."""
        return await self._client.send(encode_call(text, params))

    async def decode(self, tokens: Iterable[int], **params: Unpack[DecodeParams]) -> str:
        """Decode token ids; see `Tokens.decode`."""
        return await self._client.send(decode_call(tokens, params))

    async def count(self, text: TextOrMessages, **params: Unpack[EncodeParams]) -> int:
        """Count the tokens of a text or messages; see `Tokens.count`."""
        return len(await self.encode(text, **params))
