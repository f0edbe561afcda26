"""The fixtures of pytest, in suites of users: those of the guide first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabbyapi.testing import ReceivedRequest, ReplayServer, Reply, json_reply, stream_answer

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing.md"
KEY = "secret-key-of-the-tests"
ANSWER = {
    "model": "tiny",
    "choices": [{"index": 0, "message": {"content": "Hello there"}, "finish_reason": "stop"}],
}


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The program and the tests of the guide, in a folder of their own."""
    for name in ("TABBY_API_ENDPOINT", "TABBY_API_KEY", "TABBY_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    text = GUIDE.read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        name = code.splitlines()[0].removeprefix("# ")
        (pytester.path / name).write_text(code, encoding="utf-8")
    return pytester


def test_the_suite_of_the_guide_passes(suite: pytest.Pytester) -> None:
    suite.runpytest_subprocess("test_greeter.py").assert_outcomes(passed=5)


def test_a_recorded_suite_is_replayed_without_the_server_and_holds_no_key(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ReplayServer(json_reply(200, ANSWER)) as server:
        monkeypatch.setenv("TABBY_API_ENDPOINT", f"{server.url}/v1")
        monkeypatch.setenv("TABBY_API_KEY", KEY)
        suite.runpytest_subprocess("--tabby-record", "test_recorded.py").assert_outcomes(passed=1)
    assert server.requests[0].headers["x-api-key"] == KEY
    (path,) = (suite.path / "replays").iterdir()
    assert path.name == "test_recorded.test_greets_politely.json"
    text = path.read_text(encoding="utf-8")
    assert KEY not in text
    (exchange,) = json.loads(text)
    assert exchange["request"]["body"]["messages"][-1]["content"] == "Ada"
    assert exchange["response"]["body"] == ANSWER
    monkeypatch.delenv("TABBY_API_KEY")
    monkeypatch.setenv("TABBY_API_ENDPOINT", "http://127.0.0.1:9")
    suite.runpytest_subprocess("test_recorded.py").assert_outcomes(passed=1)


def test_a_test_without_a_recording_says_how_to_make_one(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess("test_recorded.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*there is no recording *make one with: pytest --tabby-record")


RECORDED = """
import asyncio
import tabbyapi
from tabbyapi import user


def test_one(tabby_replay):
    with tabbyapi.Client(retry=0) as client:
        with client.chat.create_stream([user({text!r})], max_tokens={limit}) as stream:
            assert "".join(stream.text_deltas()) == "a b"
        texts = [client.chat.create([user("again")]).text for _ in range(3)]
        assert texts == {texts!r}
        client.models.download("owner/model", token="hf_secret_of_mine")


async def ask():
    async with tabbyapi.AsyncClient() as client:
        return (await client.chat.create([user("again")])).text


class TestAsync:
    def test_one(self, tabby_replay):
        assert asyncio.run(ask())
"""


@pytest.fixture
def real_server() -> Iterator[ReplayServer]:
    """Streams "a b", and counts the other answers."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.target != "/v1/chat/completions":
            return json_reply(200, {"download_path": "models/model"})
        if request.json.get("stream"):
            answer = stream_answer(["a", " b"])
            return json_reply(200, answer.body, "content-type: text/event-stream")
        count = sum(b'"again"' in each.raw for each in server.requests)
        message = {"content": str(count)}
        return json_reply(200, {"choices": [{"index": 0, "message": message}]})

    with ReplayServer([reply]) as server:
        yield server


def test_streams_repeated_questions_and_async_clients_are_replayed(
    suite: pytest.Pytester, real_server: ReplayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite.path / "test_more.py"
    path.write_text(RECORDED.format(text="Hi", limit=5, texts=["1", "2", "3"]), encoding="utf-8")
    monkeypatch.setenv("TABBY_API_ENDPOINT", real_server.url)
    monkeypatch.setenv("TABBY_ADMIN_KEY", KEY)
    suite.runpytest_subprocess("--tabby-record", "test_more.py").assert_outcomes(passed=2)
    asked = len(real_server.requests)
    monkeypatch.delenv("TABBY_API_ENDPOINT")
    suite.runpytest_subprocess("test_more.py").assert_outcomes(passed=2)
    assert len(real_server.requests) == asked
    texts = [each.read_text(encoding="utf-8") for each in (suite.path / "replays").iterdir()]
    assert len(texts) == 2
    assert not any(KEY in text or "hf_secret_of_mine" in text for text in texts)
    path.write_text(RECORDED.format(text="Hi", limit=6, texts=["1", "2", "3"]), encoding="utf-8")
    result = suite.runpytest_subprocess("test_more.py", "-k", "not Async")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*differs in: max_tokens*record anew with: pytest --tabby-record*")


def test_a_server_that_cannot_be_reached_to_record_is_named(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABBY_API_ENDPOINT", "http://127.0.0.1:9")
    result = suite.runpytest_subprocess("--tabby-record", "test_recorded.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*http://127.0.0.1:9 cannot be reached to record*")


def test_a_request_without_an_answer_fails_the_program(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_none="""
        import greeter

        def test_nothing_told(tabby_server):
            greeter.greet("Ada")
        """
    )
    result = suite.runpytest_subprocess("test_none.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*the test has no answer for this request (number 1)*")


def test_what_needs_no_telling_is_answered(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_rest="""
        import tabbyapi

        def test_rest(tabby_server):
            tabby_server.say("Hello!")
            tabby_server.say("Once more", finish_reason="length")
            tabby_server.route("/v1/templates", {"object": "list", "data": ["chatml"]})
            with tabbyapi.Client() as client:
                assert client.health.check().status == "healthy"
                assert client.models.get().id == "scripted"
                assert client.tokens.count("one two three") == 3
                one, two, three = client.embeddings.create(["a", "b", "a"]).vectors
                assert one == three != two
                assert client.templates.list() == ["chatml"]
                assert client.conversation("Be brief.").send("Hi").text == "Hello!"
                reply = client.completions.create("Once")
                assert (reply.text, reply.choices[0].finish_reason) == ("Once more", "length")
        """
    )
    suite.runpytest_subprocess("test_rest.py").assert_outcomes(passed=1)


def test_a_suite_that_asks_for_no_fixture_imports_no_server(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_other="""
        import sys

        def test_other():
            assert "tabbyapi.testing" not in sys.modules
            assert "tabbyapi.server" not in sys.modules
        """
    )
    suite.runpytest_subprocess("test_other.py").assert_outcomes(passed=1)
