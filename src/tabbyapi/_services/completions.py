"""Text completions: `POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from .._protocol.assembly.completion import chunk_of_completion, completion_stream_decoder
from .._protocol.call import Call, Question, StreamCall, encode_body
from .._protocol.decode import Decoder, JSONError
from .._protocol.requests.generation import generation_fields
from .._protocol.requests.services import prompt_of
from ..types.completions import CompletionResponse, CompletionStreamResponse
from ..types.models import ModelCard
from ..types.params import GenerationParams
from .caller import AsyncService, Service
from .models import card_call
from .resolve_types import resolve_types

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream

__all__ = ["AsyncCompletions", "Completions", "completion_call", "completion_stream_call"]

_PATH = "/v1/completions"
_NO_LIMIT = 1_000_000  # tokens; more than any context, which most servers accept
_MARKS = 8  # tokens that may be added to a prompt
_decode_any = Decoder(CompletionResponse)


def _decode(body: bytes) -> CompletionResponse:
    response = _decode_any(body)
    if not response.choices:  # any JSON object decodes: every field has a default
        raise JSONError("it holds no choices")
    return response


def _fields(
    prompt: str | Sequence[str], params: Mapping[str, Any], *, stream: bool
) -> dict[str, Any]:
    return generation_fields({"prompt": prompt_of(prompt)}, resolve_types(params), stream=stream)


def completion_call(
    prompt: str | Sequence[str], params: Mapping[str, Any]
) -> Call[CompletionResponse]:
    """The call for complete texts.

    Raises:
        ValidationError: something the server would refuse, ignore in silence, or fail on.
    """
    return Call(
        method="POST",
        path=_PATH,
        body=encode_body(_fields(prompt, params, stream=False)),
        decode=_decode,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def completion_stream_call(
    prompt: str | Sequence[str], params: Mapping[str, Any]
) -> StreamCall[CompletionStreamResponse, CompletionResponse]:
    """The call for streamed texts.

    Raises:
        ValidationError: as `completion_call`.
    """
    body = _fields(prompt, params, stream=True)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    choices = body.get("n", 1) * len(prompts)
    question = None
    if not body.get("max_tokens"):
        # A stream without max_tokens fails. 0 means "fill the context", but for the first
        # choice only: choice i is given 5 * i tokens more.
        body["max_tokens"] = 0
        if choices > 1:
            longest = max(len(text.encode(errors="replace")) for text in prompts)
            then = partial(_filling_context, body, longest, choices)
            question = Question(card_call("/v1/model", None), then)
    return StreamCall(
        method="POST",
        path=_PATH,
        body=encode_body(body),
        question=question,
        decode=_decode,
        decoder=completion_stream_decoder,
        as_chunk=chunk_of_completion,
        timeout=params.get("timeout"),
        headers=params.get("extra_headers"),
    )


def _filling_context(
    body: dict[str, Any], longest: int, choices: int, card: ModelCard | None
) -> bytes:
    """The body with a `max_tokens` that every choice may use, and that the context holds.

    Args:
        longest: bytes of the longest prompt, which has no more tokens than that.
    """
    context = card.parameters.max_seq_len if card and card.parameters else None
    if not context:
        return encode_body({**body, "max_tokens": _NO_LIMIT})
    left = context - longest - 5 * choices - _MARKS
    return encode_body({**body, "max_tokens": max(left, context // 4)})


class Completions(Service):
    """Text completions, without roles or a chat template. `client.completions`.

    print(client.completions.create("Once upon a time", max_tokens=50).text)
    """

    def create(
        self, prompt: str | Sequence[str], **params: Unpack[GenerationParams]
    ) -> CompletionResponse:
        """Complete a prompt, or each of several: `POST /v1/completions`.

        Args:
            prompt: text, or a list of texts; token ids are not taken. Several prompts give `n`
                choices each, in order: `response.texts` is as long as the list.
            params: see `GenerationParams`. What is not given is not sent.

        Raises:
            ValidationError: refused before sending.
            APIError: the server answered with an error; the subclass and `code` say which.
            RequestError: no usable answer came.
        """
        return self._client.send(completion_call(prompt, params))

    def create_stream(
        self, prompt: str | Sequence[str], **params: Unpack[GenerationParams]
    ) -> Stream[CompletionStreamResponse, CompletionResponse]:
        """Stream the text in chunks, as it is generated. Use it in a `with` block.

        Without `max_tokens` the rest of the context may be filled, as in `create`; the server
        itself would fail. With several choices, `max_tokens` is exact for the first only: the
        server gives choice i 5 * i tokens more.

        Arguments and errors are those of `create`; while it is read, the stream raises
        `StreamError`s with what had arrived in `partial`.
        """
        return self._client.open_stream(completion_stream_call(prompt, params))


class AsyncCompletions(AsyncService):
    """Text completions. `client.completions` of an `AsyncClient`."""

    async def create(
        self, prompt: str | Sequence[str], **params: Unpack[GenerationParams]
    ) -> CompletionResponse:
        """Complete a prompt, or several; see `Completions.create`."""
        return await self._client.send(completion_call(prompt, params))

    def create_stream(
        self, prompt: str | Sequence[str], **params: Unpack[GenerationParams]
    ) -> AsyncStream[CompletionStreamResponse, CompletionResponse]:
        """Stream the text; see `Completions.create_stream`. Use it in an `async with` block."""
        return self._client.open_stream(completion_stream_call(prompt, params))
