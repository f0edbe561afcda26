"""Embeddings: `POST /v1/embeddings`."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Unpack

import msgspec

from .._protocol.call import Call, encode_body
from .._protocol.decode import Decoder, JSONError
from .._protocol.requests.rules import body_of
from .._protocol.requests.services import embedding_input
from ..types.embeddings import Embedding, EmbeddingResponse, EmbeddingUsage
from ..types.params import EmbeddingParams
from .caller import AsyncService, Service

__all__ = ["AsyncEmbeddings", "Embeddings", "embedding_call"]


class _Item(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Item]
    model: str = ""
    usage: EmbeddingUsage = msgspec.field(default_factory=EmbeddingUsage)


_decode_answer = Decoder(_Answer)


def _decode(body: bytes, texts: int) -> EmbeddingResponse:
    answer = _decode_answer(body)
    vectors = len(answer.data)
    if vectors != texts:
        raise JSONError(f"{vectors} vector{'s' * (vectors != 1)} for {texts} texts")
    data = [Embedding(_floats(item.embedding), item.index) for item in answer.data]
    data.sort(key=lambda item: item.index)
    return EmbeddingResponse(data, answer.model, answer.usage)


def _floats(value: list[float] | str) -> list[float]:
    if not isinstance(value, str):
        return value
    floats = array("f")  # the server sends little-endian float32
    floats.frombytes(base64.b64decode(value, validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()


def embedding_call(
    texts: str | Sequence[str], params: Mapping[str, Any]
) -> Call[EmbeddingResponse]:
    """The call for the vectors of some texts.

    Raises:
        ValidationError: no text, something else than text, or an unknown encoding.
    """
    given = embedding_input(texts)
    body = body_of({"input": given}, params, EmbeddingParams)
    return Call(
        method="POST",
        path="/v1/embeddings",
        body=encode_body(body),
        decode=partial(_decode, texts=1 if isinstance(given, str) else len(given)),
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


class Embeddings(Service):
    """Vectors of texts, from the loaded embedding model. `client.embeddings`.

    vectors = client.embeddings.create(["one text", "another"]).vectors
    """

    def create(
        self, input: str | Sequence[str], **params: Unpack[EmbeddingParams]
    ) -> EmbeddingResponse:
        """Embed one text, or several: `POST /v1/embeddings`.

        Args:
            input: text, or a list of texts; token ids are not taken.
            params: see `EmbeddingParams`.

        Returns:
            One vector for each text, in their order: `.vectors` as lists of floats, `.numpy()` as
            an array of shape (texts, dimensions).

        Raises:
            ValidationError: refused before sending.
            ModelNotLoadedError: no embedding model is loaded: `client.models.load_embedding`.
            APIError: the server answered with an error.
            RequestError: no usable answer came.
        """
        return self._client.send(embedding_call(input, params))


class AsyncEmbeddings(AsyncService):
    """Vectors of texts. `client.embeddings` of an `AsyncClient`."""

    async def create(
        self, input: str | Sequence[str], **params: Unpack[EmbeddingParams]
    ) -> EmbeddingResponse:
        """Embed one text, or several; see `Embeddings.create`."""
        return await self._client.send(embedding_call(input, params))
