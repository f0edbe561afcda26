"""Spans and metrics of operations and of tools' calls.

An operation is one call of the model: with its retries, and of a stream up to the stream's end. Its
span is current while the call is sent, and is ended exactly once, by whatever comes first: the
answer, an error, the end of the stream, `close`, or garbage collection.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .._protocol.call import Call
from .._transport.base import address_of
from .._version import __version__
from ._content import input_messages, output_messages, text_of

__all__ = ["Telemetry"]

T = TypeVar("T")
AnyCall = TypeVar("AnyCall", bound=Call[Any])

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))


_ABSENT = msgspec.Raw(b"")


class _Asked(msgspec.Struct):
    """What is told of a request's body. The types are checked when it is told."""

    model: Any = None
    stream: Any = None
    n: Any = None
    seed: Any = None
    max_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    stop: Any = None
    encoding_format: Any = None
    json_schema: msgspec.Raw = _ABSENT
    response_format: msgspec.Raw = _ABSENT
    messages: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT

    def attributes(self) -> dict[str, Any]:
        """The attributes `gen_ai.request.*`, and the kind of output."""
        names = ["seed", "max_tokens", "temperature", "top_p", "top_k"]
        names += ["frequency_penalty", "presence_penalty"]
        values = {name: getattr(self, name) for name in names}
        found: dict[str, Any] = {
            f"gen_ai.request.{name}": value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if isinstance(self.n, int) and self.n > 1:
            found["gen_ai.request.choice.count"] = self.n
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        if isinstance(stops, list) and (texts := [s for s in stops if isinstance(s, str)]):
            found["gen_ai.request.stop_sequences"] = texts
        if isinstance(self.encoding_format, str):
            found["gen_ai.request.encoding_formats"] = [self.encoding_format]
        if self.stream is True:
            found["gen_ai.request.stream"] = True
        if bytes(self.json_schema) or bytes(self.response_format):
            found["gen_ai.output.type"] = "json"
        return found


_read = msgspec.json.Decoder(_Asked).decode


class Telemetry:
    """The `Observer`."""

    def __init__(self, tracer_provider: Any, meter_provider: Any, capture: bool) -> None:
        self._given = tracer_provider is not None or meter_provider is not None
        self.capture = capture
        self._tracer = trace.get_tracer(
            "tabbyapi", __version__, tracer_provider, schema_url=_SCHEMA
        )
        meter = metrics.get_meter("tabbyapi", __version__, meter_provider, schema_url=_SCHEMA)
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    @property
    def _is_off(self) -> bool:
        """True while nothing has been set up that would take spans or metrics.

        Asking the API (`trace.get_tracer_provider`) costs microseconds. Without these private
        names the answer is False, and the API's own tracer does nothing.
        """
        return (
            not self._given
            and getattr(trace, "_TRACER_PROVIDER", True) is None
            and getattr(metrics_internal, "_METER_PROVIDER", True) is None
        ) or bool(contexts.get_value("suppress_instrumentation"))

    def begin(self, call: Call[Any], url: str) -> _Operation | None:
        """Begin the operation of a call of the model."""
        name = _OPERATIONS.get(call.path)
        if name is None or self._is_off:
            return None
        try:
            asked = _read(call.body or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            asked = _Asked()
        host, port = address_of(url)
        common: dict[str, Any] = {
            "gen_ai.operation.name": name,
            "gen_ai.provider.name": "tabbyapi",
            "server.address": host,
            "server.port": port,
        }
        title = name
        if isinstance(asked.model, str) and asked.model:
            common["gen_ai.request.model"] = asked.model
            title = f"{name} {asked.model}"
        attributes = {**common, **asked.attributes()}
        span = self._tracer.start_span(title, kind=SpanKind.CLIENT, attributes=attributes)
        if self.capture and span.is_recording():
            span.set_attributes(_content_asked(asked))
        return _Operation(self, span, common)

    def invoke(self, call: Any, function: Callable[[], Any]) -> Any:
        """Run a tool's function inside of its span, `execute_tool {name}`."""
        if self._is_off:
            return function()
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
        }
        if call.call.id:
            attributes["gen_ai.tool.call.id"] = call.call.id
        if call.tool.description:
            attributes["gen_ai.tool.description"] = call.tool.description
        if self.capture:
            attributes["gen_ai.tool.call.arguments"] = call.call.function.arguments
        span = self._tracer.start_span(f"execute_tool {call.name}", attributes=attributes)
        return _ToolSpan(span, self.capture).run(function)


class _Operation:
    """An `Operation`: the span of a call, and its times."""

    __slots__ = ("_common", "_ended", "_first", "_since", "_span", "_telemetry", "_token")

    def __init__(self, telemetry: Telemetry, span: Span, common: dict[str, Any]) -> None:
        self._telemetry = telemetry
        self._span = span
        self._common = common
        self._since = time.perf_counter()
        self._first: float | None = None  # seconds to the first chunk
        self._ended = False

    def __enter__(self) -> None:
        self._token = contexts.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        contexts.detach(self._token)
        if error is not None:
            self.end(None, error)

    def call(self, call: AnyCall) -> AnyCall:
        """The call with the headers of W3C trace context; those it has already win."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        if not headers:
            return call
        return msgspec.structs.replace(call, headers={**headers, **(call.headers or {})})

    def chunk(self) -> None:
        """Take the time of the first chunk."""
        if self._first is None:
            self._first = time.perf_counter() - self._since
            self._telemetry.first_chunk.record(
                self._first, self._common, trace.set_span_in_context(self._span)
            )
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", self._first)

    def end(self, result: object, error: BaseException | None = None) -> None:
        """Tell what came, and end the span."""
        if self._ended:
            return
        self._ended = True
        telemetry, span, common = self._telemetry, self._span, self._common
        if model := getattr(result, "model", None):
            common["gen_ai.response.model"] = model
        usage = getattr(result, "usage", None)
        context = trace.set_span_in_context(span)
        if usage is not None and usage.total_tokens:
            telemetry.tokens.record(
                usage.prompt_tokens, {**common, "gen_ai.token.type": "input"}, context
            )
            if common["gen_ai.operation.name"] != "embeddings":
                telemetry.tokens.record(
                    usage.completion_tokens, {**common, "gen_ai.token.type": "output"}, context
                )
        if error is not None:
            common["error.type"] = _error_type(error)
        telemetry.duration.record(time.perf_counter() - self._since, common, context)
        if span.is_recording():
            span.set_attributes(_answered(result))
            if telemetry.capture and (content := output_messages(result)):
                span.set_attribute("gen_ai.output.messages", content)
            if error is not None:
                _fail(span, error)
        span.end()


class _ToolSpan:
    """The span of a tool's call, which lasts until its result is there."""

    def __init__(self, span: Span, capture: bool) -> None:
        self._span = span
        self._capture = capture

    def run(self, function: Callable[[], Any]) -> Any:
        """What the function returns; the span goes on where that must be awaited or iterated."""
        value = self._step(function)
        if inspect.isawaitable(value):
            return self._awaited(value)
        if isinstance(value, AsyncIterator):
            return self._async_items(value)
        if isinstance(value, Iterator):
            return self._items(value)
        self._end(value)
        return value

    def _step(self, function: Callable[[], T]) -> T:
        token = contexts.attach(trace.set_span_in_context(self._span))
        try:
            return function()
        except BaseException as error:
            self._end(None, error)
            raise
        finally:
            contexts.detach(token)

    async def _awaited(self, value: Any) -> Any:
        token = contexts.attach(trace.set_span_in_context(self._span))
        try:
            result = await value
        except BaseException as error:
            self._end(None, error)
            raise
        finally:
            contexts.detach(token)
        self._end(result)
        return result

    async def _async_items(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        try:
            async for item in items:
                yield item
        except BaseException as error:
            self._end(None, error)
            raise
        self._end(None)

    def _items(self, items: Iterator[T]) -> Iterator[T]:
        try:
            yield from items
        except BaseException as error:
            self._end(None, error)
            raise
        self._end(None)

    def _end(self, value: object, error: BaseException | None = None) -> None:
        if error is not None:
            _fail(self._span, error)
        elif self._capture and value is not None:
            self._span.set_attribute("gen_ai.tool.call.result", text_of(value))
        self._span.end()


def _content_asked(asked: _Asked) -> dict[str, str]:
    found = {}
    if sent := bytes(asked.prompt) or bytes(asked.messages):
        found["gen_ai.input.messages"] = input_messages(sent)
    if tools := bytes(asked.tools):
        found["gen_ai.tool.definitions"] = tools.decode()
    return found


def _answered(result: Any) -> dict[str, Any]:
    """The attributes of an answer: of chat, text or embeddings."""
    found: dict[str, Any] = {}
    for name in ("id", "model"):
        if value := getattr(result, name, None):
            found[f"gen_ai.response.{name}"] = value
    reasons = [choice.finish_reason for choice in getattr(result, "choices", ())]
    if reasons := [reason for reason in reasons if reason]:
        found["gen_ai.response.finish_reasons"] = reasons
    if vectors := getattr(result, "data", None):
        found["gen_ai.embeddings.dimension.count"] = len(vectors[0].embedding)
    usage = getattr(result, "usage", None)
    if usage is not None and usage.total_tokens:
        found["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if not vectors:
            found["gen_ai.usage.output_tokens"] = usage.completion_tokens
        if (cached := getattr(usage, "cached_tokens", None)) is not None:
            found["gen_ai.usage.cache_read.input_tokens"] = cached
    return found


def _error_type(error: BaseException) -> str:
    return getattr(error, "code", None) or type(error).__qualname__


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", _error_type(error))
    span.set_status(Status(StatusCode.ERROR, str(error)[:1000]))
