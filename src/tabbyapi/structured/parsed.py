"""Typed answers: the value together with its response, and streams of growing values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from ..errors import OutputError, StreamError, ValidationError
from ..types import ChatCompletionResponse, ChatCompletionStreamResponse
from .reading import PartialReader, read
from .schema import schema_of

if TYPE_CHECKING:
    from .._streaming.aio import AsyncStream
    from .._streaming.sync import Stream

    ChatStream: TypeAlias = Stream[ChatCompletionStreamResponse, ChatCompletionResponse]
    AsyncChatStream: TypeAlias = AsyncStream[ChatCompletionStreamResponse, ChatCompletionResponse]

__all__ = ["AsyncParsedStream", "Parsed", "ParsedStream", "constrained", "parsed"]

T = TypeVar("T")

_CONSTRAINTS = ("json_schema", "response_format", "regex_pattern", "grammar_string")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A value, and the response whose text it was read from.

    result = client.chat.parse([user("A recipe for pancakes.")], Recipe)
    print(result.value.title, result.response.usage)
    """

    value: T
    response: ChatCompletionResponse


def constrained(tp: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Add the schema of `tp` to request parameters.

    Raises:
        ValidationError: the parameters hold another constraint, or ask for several answers.
    """
    for name in _CONSTRAINTS:
        if params.get(name) is not None:
            raise ValidationError(
                f"{name} cannot be given here: the type to parse already says what the answer "
                "must look like. Use chat.create() for other constraints.",
                field=name,
            )
    if (params.get("n") or 1) != 1:
        raise ValidationError(
            f"n={params['n']}: one answer is parsed at a time; call once for each.", field="n"
        )
    return {**params, "json_schema": schema_of(tp)}


def parsed(response: ChatCompletionResponse, tp: type[T]) -> Parsed[T]:
    """Read the text of a finished response as a value.

    Raises:
        OutputError: it is no value of type `tp`, or was cut off; `response` is attached.
    """
    text = response.text
    choice = response.choices[0] if response.choices else None
    cut = choice is not None and (
        choice.finish_reason == "length" or choice.eos_reason == "max_new_tokens"
    )
    # A limit does not harm an object, array or string that is whole; a number may be cut.
    if cut and not text.rstrip().endswith(("}", "]", '"')):
        raise OutputError(_cut_message(response), text=text, response=response)
    try:
        return Parsed(read(text, tp), response)
    except OutputError as error:
        error.response = response
        if cut:
            raise OutputError(
                _cut_message(response), text=text, position=error.position, response=response
            ) from error
        if hint := _hint(response):
            error.add_note(hint)
        raise


def _cut_message(response: ChatCompletionResponse) -> str:
    used = response.usage
    after = f" after {used.completion_tokens} tokens" if used else ""
    message = f"The answer was cut off{after}, before its JSON was complete: raise max_tokens."
    if response.reasoning:
        message += " Its reasoning took part of them; reasoning_budget_tokens limits that."
    return message


def _hint(response: ChatCompletionResponse) -> str:
    """Other reasons, in the response, for an answer that cannot be read."""
    choice = response.choices[0] if response.choices else None
    if choice is None:
        return "The response has no choices."
    if choice.eos_reason == "loop_detected":
        return "The server ended it because it repeated itself; see loop_detect_window."
    if choice.message.tool_calls:
        return "The model called a tool instead of answering."
    if choice.eos_reason is None and not response.usage:
        return "The server may have aborted it: it named no reason for the end."
    return "The server may not have enforced the schema: it ignores one it cannot compile."


class _Growing(Generic[T]):
    """State of both streams: reading, then ended, when the typed value can be taken."""

    _stream: ChatStream | AsyncChatStream

    def __init__(self, tp: type[T]) -> None:
        self._type = tp
        self._reader = PartialReader()
        self._ended = False
        self._parsed: Parsed[T] | None = None

    def _partial(self, chunk: ChatCompletionStreamResponse) -> Any | None:
        text = chunk.text
        return self._reader.feed(text) if text else None

    @property
    def response(self) -> ChatCompletionResponse:
        """The response assembled so far; complete after the last partial value."""
        return self._stream.response

    @property
    def parsed(self) -> Parsed[T]:
        """The finished value with its response.

        Raises:
            StreamError: the stream has not been read to its end.
            OutputError: the answer is no value of the type asked for, or was cut off.
        """
        if self._parsed is None:
            if not self._ended:
                raise StreamError(
                    "The answer is still being generated: iterate over the stream to its end "
                    "before taking its value.",
                    partial=self.response,
                )
            self._parsed = parsed(self.response, self._type)
        return self._parsed

    @property
    def value(self) -> T:
        """The finished value; raises as `parsed` does."""
        return self.parsed.value


class ParsedStream(_Growing[T]):
    """The growing value of an answer: iterate over dicts, lists, strings and numbers.

    Each item is a new snapshot of what has arrived, not yet of the requested type; fields and
    items appear when their value begins, strings grow. Several small chunks may make one
    snapshot. After the last one, `value` is the typed result. An answer that can no longer
    become JSON raises `OutputError` at once and ends generation.
    """

    def __init__(self, stream: ChatStream, tp: type[T]) -> None:
        super().__init__(tp)
        self._stream: ChatStream = stream

    def __iter__(self) -> Iterator[Any]:
        try:
            for chunk in self._stream:
                partial = self._partial(chunk)
                if partial is not None:
                    yield partial
            self._ended = True
            last = self._reader.finish()
            if last is not None:
                yield last
        except OutputError as error:
            error.response = self.response
            self.close()
            raise

    def close(self) -> None:
        """Stop generation on the server at once."""
        self._stream.close()

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.__exit__(kind, error, trace)


class AsyncParsedStream(_Growing[T]):
    """`ParsedStream` for `async with` and `async for`."""

    def __init__(self, stream: AsyncChatStream, tp: type[T]) -> None:
        super().__init__(tp)
        self._stream: AsyncChatStream = stream

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for chunk in self._stream:
                partial = self._partial(chunk)
                if partial is not None:
                    yield partial
            self._ended = True
            last = self._reader.finish()
            if last is not None:
                yield last
        except OutputError as error:
            error.response = self.response
            await self.close()
            raise

    async def close(self) -> None:
        """Stop generation on the server at once."""
        await self._stream.close()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stream.__aexit__(kind, error, trace)
