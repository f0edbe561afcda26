"""Streams of a conversation, over a real socket: how each ending shows in the history."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import tabbyapi
import tabbyapi.conversation
from support.replay import ReplayServer, Reply, json_reply

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
TOO_LONG = {
    "error": {
        "message": "Prompt length 610 exceeds the available context size of 512 tokens",
        "code": "context_length_exceeded",
    }
}


def event(payload: Any) -> bytes:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    line = f"data: {text}\r\n\r\n".encode()
    return b"%x\r\n%s\r\n" % (len(line), line)


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish", None)}
    return event({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more})


ONE, TWO = chunk({"content": "It is "}), chunk({"content": "a metal."})
LAST = chunk(
    {}, finish="stop", usage={"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
)
GOOD = Reply([HEAD, ONE, TWO, LAST, event("[DONE]"), b"0\r\n\r\n"])
CUT = Reply([HEAD, ONE], "close")
SILENT = Reply([HEAD, ONE], "hang")
CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CUT_AT_A_CALL = Reply([HEAD, ONE, chunk({"tool_calls": [CALL]})], "close")
NOTHING = Reply([HEAD], "close")


class Outcome:
    """What came of one stream, and what the conversation holds then."""

    def __init__(self) -> None:
        self.text = ""
        self.error: tabbyapi.TabbyError | None = None
        self.messages: list[tuple[str, str]] = []
        self.tokens: Any = None
        self.free = False


def run_sync(url: str, stop_after: int | None = None, **options: Any) -> Outcome:
    outcome = Outcome()
    with tabbyapi.Client(url, retry=0) as client:
        talk = client.conversation("Be brief.", **options)
        try:
            with talk.stream("What is iron?") as stream:
                for number, text in enumerate(stream.text_deltas(), 1):
                    outcome.text += text
                    if number == stop_after:
                        break
            assert stream.closed
        except tabbyapi.TabbyError as error:
            outcome.error = error
        finish(outcome, talk)
    return outcome


def run_async(url: str, stop_after: int | None = None, **options: Any) -> Outcome:
    async def run() -> Outcome:
        outcome = Outcome()
        async with tabbyapi.AsyncClient(url, retry=0) as client:
            talk = client.conversation("Be brief.", **options)
            try:
                async with talk.stream("What is iron?") as stream:
                    number = 0
                    async for text in stream.text_deltas():
                        outcome.text += text
                        number += 1
                        if number == stop_after:
                            break
                assert stream.closed
            except tabbyapi.TabbyError as error:
                outcome.error = error
            finish(outcome, talk)
        return outcome

    return asyncio.run(run())


def finish(outcome: Outcome, talk: Any) -> None:
    outcome.messages = [(message.role, message.text) for message in talk.messages]
    assert all(not message.tool_calls for message in talk.messages)
    outcome.tokens = talk.tokens
    talk.append({"role": "user", "content": "It is not busy any more."})


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: Any) -> Any:
    return request.param


BEGIN = [("system", "Be brief.")]
ASKED = [*BEGIN, ("user", "What is iron?")]


def test_a_whole_stream_is_added_with_its_usage(run: Any) -> None:
    with ReplayServer(GOOD) as server:
        outcome = run(server.url)
    assert outcome.text == "It is a metal."
    assert outcome.messages == [*ASKED, ("assistant", "It is a metal.")]
    assert outcome.tokens.exact
    assert 35 <= outcome.tokens.used <= 55


@pytest.mark.parametrize("reply", [CUT, CUT_AT_A_CALL], ids=["text", "a call"])
def test_a_broken_stream_leaves_what_arrived(run: Any, reply: Reply) -> None:
    with ReplayServer(reply) as server:
        outcome = run(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.messages == [*ASKED, ("assistant", "It is ")]


def test_a_broken_stream_leaves_nothing_where_that_is_chosen(run: Any) -> None:
    with ReplayServer(CUT) as server:
        outcome = run(server.url, keep_partial=False)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.messages == BEGIN


def test_a_stream_that_brought_nothing_leaves_nothing(run: Any) -> None:
    with ReplayServer(NOTHING) as server:
        outcome = run(server.url)
    assert isinstance(outcome.error, tabbyapi.StreamInterruptedError)
    assert outcome.messages == BEGIN


def test_a_closed_stream_leaves_what_arrived(run: Any) -> None:
    with ReplayServer(SILENT) as server:
        outcome = run(server.url, stop_after=1)
        assert server.left.wait(5)
    assert outcome.error is None
    assert outcome.messages == [*ASKED, ("assistant", "It is ")]


def test_a_closed_stream_leaves_nothing_where_that_is_chosen(run: Any) -> None:
    with ReplayServer(SILENT) as server:
        outcome = run(server.url, stop_after=1, keep_partial=False)
    assert outcome.messages == BEGIN


def test_a_refused_stream_leaves_nothing(run: Any) -> None:
    with ReplayServer(json_reply(401, {"detail": "Invalid API key"})) as server:
        outcome = run(server.url)
    assert isinstance(outcome.error, tabbyapi.AuthenticationError)
    assert outcome.messages == BEGIN


def test_a_stream_refused_for_its_length_is_tried_once_more(run: Any) -> None:
    refused = json_reply(400, TOO_LONG)
    card = json_reply(200, {"id": "m", "parameters": {"max_seq_len": 512}})
    earlier = [
        tabbyapi.user("word " * 60),
        tabbyapi.assistant("Yes."),
        tabbyapi.user("Again."),
        tabbyapi.assistant("Yes."),
    ]
    with ReplayServer([refused, card, GOOD]) as server:
        outcome = run(server.url, messages=earlier, max_tokens=20, context_size=2048)
        sent = [request.target for request in server.requests]
        kept = server.requests[-1].json["messages"]
    assert outcome.text == "It is a metal."
    assert sent == ["/v1/chat/completions", "/v1/model", "/v1/chat/completions"]
    assert kept[0]["role"] == "system"
    assert kept[-1]["content"] == "What is iron?"
    assert len(kept) < 6


def test_a_server_that_does_not_stream_answers_in_one_chunk(run: Any) -> None:
    answer = {
        "id": "cmpl-1",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "A metal."}}],
    }
    with ReplayServer(json_reply(200, answer)) as server:
        outcome = run(server.url)
    assert outcome.messages == [*ASKED, ("assistant", "A metal.")]


def test_a_conversation_is_busy_while_it_streams() -> None:
    with ReplayServer([SILENT, GOOD]) as server, tabbyapi.Client(server.url) as client:
        talk = client.conversation()
        with talk.stream("One?") as stream:
            next(stream)
            with pytest.raises(tabbyapi.ValidationError, match="waiting for an answer"):
                talk.send("Two?")
            with pytest.raises(tabbyapi.ValidationError, match="waiting for an answer"):
                talk.append(tabbyapi.user("Three?"))
        with talk.stream("Three?") as stream:
            assert stream.until_done().text == "It is a metal."
        assert [m.text for m in talk.messages] == ["One?", "It is ", "Three?", "It is a metal."]


def forget(talk: tabbyapi.conversation.Conversation) -> None:
    for _ in talk.stream("One?"):
        break


def test_a_forgotten_stream_does_not_keep_the_conversation_busy() -> None:
    with ReplayServer([SILENT, GOOD]) as server, tabbyapi.Client(server.url) as client:
        talk = client.conversation()
        with pytest.warns(ResourceWarning, match="neither read to its end nor closed"):
            forget(talk)
        assert [m.text for m in talk.messages] == ["One?", "It is "]
        assert talk.stream("Two?").until_done().text == "It is a metal."


def test_a_cancelled_task_leaves_the_conversation_usable() -> None:
    async def run() -> None:
        async with tabbyapi.AsyncClient(server.url) as client:
            talk = client.conversation(keep_partial=False)
            task = asyncio.create_task(talk.send("One?"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert talk.messages == []

            async def read() -> None:
                async with talk.stream("Two?") as stream:
                    await stream.until_done()

            task = asyncio.create_task(read())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert talk.messages == []
            async with talk.stream("Three?") as stream:
                assert (await stream.until_done()).text == "It is a metal."

    with ReplayServer([Reply([], "hang"), SILENT, GOOD]) as server:
        asyncio.run(run())


def test_tools_of_a_stream_are_described_but_not_called(run: Any) -> None:
    def find() -> str:
        """Finds it."""
        raise AssertionError("called")

    with ReplayServer(GOOD) as server:
        run(server.url, tools=[find])
        assert server.requests[-1].json["tools"][0]["function"]["name"] == "find"
