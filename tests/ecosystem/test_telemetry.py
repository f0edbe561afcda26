"""Spans and metrics, read back from OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import tabbyapi
from support.replay import ReplayServer, Reply, json_reply
from tabbyapi import testing, user

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

import tabbyapi.telemetry

if TYPE_CHECKING:
    from tabbyapi import LocalServer

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
ANSWER = {
    "id": "cmpl-1",
    "model": "tiny",
    "choices": [{"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"}],
    "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 2}},
}
GOOD = json_reply(200, ANSWER)


class Told:
    """What was exported, and the providers that did."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.metering = MeterProvider([self.reader])

    def instrument(self, **options: Any) -> None:
        tabbyapi.telemetry.instrument(
            tracer_provider=self.tracing, meter_provider=self.metering, **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def metrics(self) -> dict[str, list[Any]]:
        """Data points by the name of their metric."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    told.instrument()
    yield told
    tabbyapi.telemetry.uninstrument()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def streamed(*texts: str, done: bool = True, then: Any = "close") -> Reply:
    body = testing.stream_answer(texts, done=done).body
    return Reply([b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", body], then)


def test_a_chat_is_a_span_with_the_attributes_of_the_conventions(told: Told) -> None:
    with ReplayServer(GOOD) as server, tabbyapi.Client(server.url) as client:
        client.chat.create(
            [user("Hi")],
            model="asked-for",
            max_tokens=9,
            temperature=0.5,
            top_p=0.9,
            top_k=4,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            stop=["END"],
            json_schema={"type": "object"},
        )
    span, port = told.span, int(server.url.rpartition(":")[2])
    assert span.name == "chat asked-for"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.status.is_unset
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tabbyapi",
        "gen_ai.request.model": "asked-for",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 4,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "tiny",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": port,
    }


def test_metrics_tell_duration_and_tokens(told: Told) -> None:
    with ReplayServer(GOOD) as server, tabbyapi.Client(server.url) as client:
        client.chat.create([user("Hi")])
    metrics = told.metrics()
    (duration,) = metrics["gen_ai.client.operation.duration"]
    assert duration.count == 1
    assert 0 < duration.sum < 60
    tokens = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in metrics["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 5, "output": 3}
    assert duration.attributes["gen_ai.response.model"] == "tiny"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_is_told_from_its_request_to_its_end(told: Told, asynchronous: bool) -> None:
    with ReplayServer(streamed("a", "b")) as server:
        read_stream(server.url, asynchronous=asynchronous)
    found = attributes(told.span)
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.response.model"] == "mock"
    (first,) = told.metrics()["gen_ai.client.operation.time_to_first_chunk"]
    assert first.sum == found["gen_ai.response.time_to_first_chunk"]
    lasted = ((told.span.end_time or 0) - (told.span.start_time or 0)) / 1e9
    assert 0 < first.sum <= lasted


def read_stream(url: str, *, asynchronous: bool, chunks: int | None = None) -> None:
    """Read a stream to its end, or close it after so many chunks."""

    async def read() -> None:
        async with (
            tabbyapi.AsyncClient(url) as client,
            client.chat.create_stream([user("Hi")]) as stream,
        ):
            left = chunks
            async for _ in stream:
                left = None if left is None else left - 1
                if left == 0:
                    return

    if asynchronous:
        asyncio.run(read())
        return
    with (
        tabbyapi.Client(url) as client,
        client.chat.create_stream([user("Hi")]) as stream,
    ):
        for count, _ in enumerate(stream, 1):
            if count == chunks:
                return


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_that_is_closed_early_is_told_with_what_came(
    told: Told, asynchronous: bool
) -> None:
    with ReplayServer(streamed("a", "b", done=False, then="hang")) as server:
        read_stream(server.url, asynchronous=asynchronous, chunks=1)
    assert told.span.status.is_unset
    found = attributes(told.span)
    assert found["gen_ai.response.model"] == "mock"
    assert "gen_ai.response.finish_reasons" not in found


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_that_breaks_is_told_with_its_error(told: Told, asynchronous: bool) -> None:
    with (
        ReplayServer(streamed("a", done=False)) as server,
        pytest.raises(tabbyapi.StreamInterruptedError) as caught,
    ):
        read_stream(server.url, asynchronous=asynchronous)
    assert told.span.status.status_code is trace.StatusCode.ERROR
    assert attributes(told.span)["error.type"] == caught.value.code


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_that_a_server_does_not_stream_is_told_too(told: Told, asynchronous: bool) -> None:
    with ReplayServer(GOOD) as server:
        read_stream(server.url, asynchronous=asynchronous)
    found = attributes(told.span)
    assert found["gen_ai.response.id"] == "cmpl-1"
    assert found["gen_ai.usage.output_tokens"] == 3
    assert "gen_ai.response.time_to_first_chunk" in found


def test_a_stream_that_is_dropped_is_told_when_it_is_collected(told: Told) -> None:
    async def drop() -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            stream = await client.chat.create_stream([user("Hi")])
            del stream

    with (
        ReplayServer(streamed("a", done=False, then="hang")) as server,
        pytest.warns(ResourceWarning, match="neither read to its end nor closed"),
    ):
        asyncio.run(drop())
    assert told.span.name == "chat"


def test_a_refusal_and_a_server_that_is_not_there_are_told_as_errors(told: Told) -> None:
    with ReplayServer(json_reply(401, {"detail": "Invalid API key"})) as server:
        with tabbyapi.Client(server.url) as client, pytest.raises(tabbyapi.AuthenticationError):
            client.chat.create([user("Hi")])
        url = server.url
    with (
        tabbyapi.Client(url, retry=0) as client,
        pytest.raises(tabbyapi.ConnectError),
        client.chat.create_stream([user("Hi")]),
    ):
        pass
    kinds = [attributes(span)["error.type"] for span in told.spans]
    assert kinds == ["authentication_error", "request_error"]
    points = told.metrics()["gen_ai.client.operation.duration"]
    assert {point.attributes["error.type"] for point in points} == set(kinds)


def test_retries_are_one_span(told: Told) -> None:
    busy = json_reply(503, {"detail": "busy"}, "content-type: application/json", "retry-after: 0")
    with ReplayServer([busy, GOOD]) as server, tabbyapi.Client(server.url) as client:
        client.chat.create([user("Hi")])
    assert len(server.requests) == 2
    assert told.span.status.is_unset


def test_the_context_goes_to_the_server_and_headers_of_a_call_win(told: Told) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    tracer = told.tracing.get_tracer("program")
    with ReplayServer(GOOD) as server, tabbyapi.Client(server.url) as client:
        with tracer.start_as_current_span("program") as program:
            client.chat.create([user("Hi")])
        client.chat.create([user("Hi")], extra_headers={"traceparent": own})
    first, second = server.requests
    span = told.spans[0]
    context = program.get_span_context()
    assert span.parent is not None
    assert span.parent.span_id == context.span_id
    version, trace_id, span_id, _flags = first.headers["traceparent"].split("-")
    assert version == "00"
    assert int(trace_id, 16) == context.trace_id
    assert int(span_id, 16) == span.get_span_context().span_id
    assert second.headers["traceparent"] == own


def test_the_span_is_current_for_hooks_and_not_afterwards(told: Told) -> None:
    seen = []
    hooks = {"request": [lambda request: seen.append(trace.get_current_span())]}
    with (
        ReplayServer(GOOD) as server,
        tabbyapi.Client(server.url, event_hooks=hooks) as client,
    ):
        client.chat.create([user("Hi")])
    assert seen[0].get_span_context() == told.span.get_span_context()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_contents_are_left_out_unless_asked_for(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,SECRET"}}
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, picture]},
    ]
    with ReplayServer(GOOD) as server, tabbyapi.Client(server.url) as client:
        client.chat.create(asked, check_vision=False)
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
        told.instrument()
        client.chat.create(asked, check_vision=False)
        told.instrument(capture_content=False)
        client.chat.create(asked, check_vision=False)
    without, with_content, off = map(attributes, told.spans)
    assert json.loads(with_content["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "Look:"},
                {"type": "image", "mime_type": "image/png"},
            ],
        },
    ]
    assert json.loads(with_content["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "fine"}],
            "finish_reason": "stop",
        }
    ]
    for found in (without, off):
        assert not {name for name in found if "messages" in name}


CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
CALLS = json_reply(
    200,
    {
        "choices": [
            {"message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
        ]
    },
)


def add(a: int) -> int:
    """Add one."""
    return a + 1


async def add_later(a: int) -> int:
    """Add one."""
    await asyncio.sleep(0.01)
    trace.get_current_span().set_attribute("inside", True)
    return a + 1


def fail(a: int) -> int:
    """Add one."""
    raise ValueError("no")


def items(a: int) -> Iterator[str]:
    """Add one."""
    yield "3"
    raise ValueError("no more")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("function", "error"),
    [(add, None), (add_later, None), (fail, "ValueError"), (items, "ValueError")],
)
def test_a_call_of_a_tool_is_a_span(
    told: Told, function: Any, error: str | None, asynchronous: bool
) -> None:
    async def run_async() -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            await client.chat.run([user("Hi")], tools=[tabbyapi.tool_of(function, name="add")])

    told.instrument(capture_content=True)
    with ReplayServer([CALLS, GOOD]) as server:
        if asynchronous:
            asyncio.run(run_async())
        else:
            with tabbyapi.Client(server.url) as client:
                client.chat.run([user("Hi")], tools=[tabbyapi.tool_of(function, name="add")])
    names = [span.name for span in told.spans]
    assert names == ["chat", "execute_tool add", "chat"]
    found = attributes(told.spans[1])
    assert found.pop("gen_ai.tool.call.result", None) == (None if error else "3")
    assert found.pop("error.type", None) == error
    assert found.pop("inside", None) == (True if function is add_later else None)
    assert found == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.description": "Add one.",
        "gen_ai.tool.call.arguments": '{"a": 2}',
    }


def test_what_a_local_server_answers_is_told(told: Told, local_server: LocalServer) -> None:
    told.instrument(capture_content=True)
    with local_server.client() as client:
        client.chat.create([user("Hi")], max_tokens=4, extra_body={"seed": 1})
        with client.completions.create_stream("Once", max_tokens=4) as stream:
            stream.until_done()
        vectors = client.embeddings.create(["one", "two"]).vectors
    chat, text, embeddings = map(attributes, told.spans)
    assert [span.name for span in told.spans] == ["chat", "text_completion", "embeddings"]
    assert chat["gen_ai.usage.output_tokens"] == 4
    assert chat["gen_ai.request.seed"] == 1
    assert text["gen_ai.response.finish_reasons"] == ("length",)
    assert json.loads(text["gen_ai.input.messages"])[0]["parts"][0]["content"] == "Once"
    assert embeddings["gen_ai.embeddings.dimension.count"] == len(vectors[0])
    assert embeddings["gen_ai.usage.input_tokens"] > 0
    assert "gen_ai.input.messages" not in embeddings


def strings_of(module: object) -> set[str]:
    return {value for value in vars(module).values() if isinstance(value, str)}


def test_names_are_those_of_the_conventions(told: Told, local_server: LocalServer) -> None:
    told.instrument(capture_content=True)
    with local_server.client() as client:
        client.chat.create([user("Hi")], max_tokens=2, n=2, stop="x", top_k=2, json_schema=None)
        client.embeddings.create("one", encoding_format="float")
    with ReplayServer([CALLS, GOOD]) as server, tabbyapi.Client(server.url) as client:
        client.chat.run([user("Hi")], tools=[add])
        with client.chat.create_stream([user("Hi")]) as stream:
            stream.until_done()
    known = strings_of(gen_ai_attributes) | {"server.address", "server.port", "error.type"}
    used = {name for span in told.spans for name in attributes(span)}
    assert used <= known
    assert "gen_ai.tool.definitions" in used
    metrics = told.metrics()
    assert set(metrics) <= strings_of(gen_ai_metrics)
    assert len(metrics) == 3
    measured = {n for points in metrics.values() for point in points for n in point.attributes}
    assert measured <= known


def test_nothing_is_told_after_uninstrument_and_where_it_is_suppressed(told: Told) -> None:
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with ReplayServer(GOOD) as server, tabbyapi.Client(server.url) as client:
        with suppress_instrumentation():
            client.chat.create([user("Hi")])
        tabbyapi.telemetry.uninstrument()
        client.chat.create([user("Hi")])
    assert told.spans == []
    assert "traceparent" not in server.requests[0].headers


def test_other_calls_than_those_of_the_model_are_not_told(told: Told) -> None:
    healthy = json_reply(200, {"status": "healthy"})
    with ReplayServer(healthy) as server, tabbyapi.Client(server.url) as client:
        client.health.check()
    assert told.spans == []


def test_nothing_is_sent_before_an_sdk_is_set_up_which_may_come_later() -> None:
    program = """if True:
        import tabbyapi, tabbyapi.telemetry
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from tabbyapi import testing, user
        tabbyapi.telemetry.instrument()
        transport = testing.MockTransport(lambda request: testing.chat_answer("fine"))
        client = tabbyapi.Client(transport=transport)
        client.chat.create([user("Hi")])
        trace.set_tracer_provider(TracerProvider())
        client.chat.create([user("Hi")])
        print(["traceparent" in request.headers for request in transport.requests])
    """
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[False, True]"


def test_opentelemetry_instrument_finds_it_by_its_entry_point() -> None:
    program = """if True:
        import tabbyapi
        from tabbyapi import testing, user
        transport = testing.MockTransport(lambda request: testing.chat_answer("fine"))
        tabbyapi.Client(transport=transport).chat.create([user("Hi")])
        print(transport.requests[0].headers["traceparent"])
    """
    command = os.path.join(os.path.dirname(sys.executable), "opentelemetry-instrument")
    result = subprocess.run(
        [command, sys.executable, "-c", program],
        env={
            **os.environ,
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    header, _, span = result.stdout.partition("\n")
    told = json.loads(span)
    assert told["name"] == "chat"
    assert told["attributes"]["gen_ai.usage.input_tokens"] == 1
    assert told["context"]["span_id"].removeprefix("0x") == header.split("-")[2]


def test_without_opentelemetry_it_is_said_what_to_install() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import tabbyapi.telemetry"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: tabbyapi.telemetry needs OpenTelemetry: "
        "pip install 'py-tabbyapi[otel]'"
    )


def test_a_capture_content_that_is_no_bool_is_refused() -> None:
    with pytest.raises(tabbyapi.ValidationError, match="capture_content must be True or False"):
        tabbyapi.telemetry.instrument(capture_content="yes")  # type: ignore[arg-type]
