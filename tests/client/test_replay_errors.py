"""Every recorded refusal, from whatever route, as the answer to a chat: the error it becomes."""

from __future__ import annotations

import traceback

import pytest

import tabbyapi
from support.captures import Capture, load
from support.replay import ReplayServer, Split, json_reply, replay
from support.talk import HELLO, KEY, Ask, Talk

REFUSALS = [c for c in load().values() if c.status is not None and c.status >= 300]
LISTS = [c for c in REFUSALS if c.status == 422 and isinstance(c.json["detail"], list)]
ANSWERS_OF_OTHER_ROUTES = [
    capture
    for capture in load().values()
    if capture.status == 200
    and capture.path not in ("/v1/chat/completions", "/v1/completions")
    and not capture.streamed
    and not capture.body_left_out
]
STREAM_HELLO = Ask(HELLO.messages, stream=True)
SPLITS = list(Split)

CLASS_OF_STATUS = {
    307: tabbyapi.APIError,
    400: tabbyapi.InvalidRequestError,
    401: tabbyapi.AuthenticationError,
    404: tabbyapi.NotFoundError,
    405: tabbyapi.InvalidRequestError,
    422: tabbyapi.InvalidRequestError,
    500: tabbyapi.ServerError,
    503: tabbyapi.ServerError,
}
CLASS_OF_TEXT = {
    "context size": tabbyapi.ContextLengthError,
    "admin key": tabbyapi.PermissionDeniedError,
    "models are currently loaded": tabbyapi.ModelNotLoadedError,
}
CODES = {
    tabbyapi.APIError: "api_error",
    tabbyapi.InvalidRequestError: "invalid_request",
    tabbyapi.ContextLengthError: "context_length_exceeded",
    tabbyapi.AuthenticationError: "authentication_error",
    tabbyapi.PermissionDeniedError: "permission_error",
    tabbyapi.NotFoundError: "not_found",
    tabbyapi.ServerError: "server_error",
    tabbyapi.ModelNotLoadedError: "model_not_loaded",
    tabbyapi.RateLimitError: "rate_limit_exceeded",
}


def class_of(capture: Capture) -> type[tabbyapi.APIError]:
    text = capture.body.decode()
    by_text = (kind for words, kind in CLASS_OF_TEXT.items() if words in text)
    return next(by_text, CLASS_OF_STATUS[capture.status])


@pytest.mark.parametrize("capture", REFUSALS, ids=repr)
@pytest.mark.parametrize("ask", [HELLO, STREAM_HELLO], ids=["create", "create_stream"])
def test_a_refusal_is_an_error_of_its_kind(talk: Talk, ask: Ask, capture: Capture) -> None:
    with ReplayServer([replay(capture, how) for how in SPLITS]) as server:
        results = talk(server.url, [ask] * len(SPLITS))
    kind = class_of(capture)
    for result in results:
        error = result.error
        assert type(error) is kind
        assert error.code == CODES[kind]
        assert error.status_code == capture.status
        assert error.body == capture.body.decode()[:2000]
        assert (error.method, error.url) == ("POST", f"{server.url}/v1/chat/completions")
        assert str(capture.status) in str(error)
    assert len(server.requests) == len(SPLITS), "none of these is worth a second try"
    kept = capture.status < 500  # after those the real server closes, unannounced
    assert server.connections == (1 if kept else len(SPLITS))


@pytest.mark.parametrize("capture", REFUSALS, ids=repr)
def test_the_servers_own_words_are_in_the_message(talk: Talk, capture: Capture) -> None:
    with ReplayServer(replay(capture)) as server:
        [result] = talk(server.url, [HELLO])
    error = result.error
    if capture.status in (307, 500):  # nothing was said: an empty body, "Internal Server Error"
        assert error.details == []
    elif "error" in capture.json:
        assert error.message == capture.json["error"]["message"]
    elif isinstance(capture.json["detail"], str):
        assert error.message == capture.json["detail"]
        assert error.details == []
    else:
        assert len(error.details) == len(capture.json["detail"])


@pytest.mark.parametrize("capture", LISTS, ids=repr)
def test_each_field_error_is_one_line_that_names_the_field(talk: Talk, capture: Capture) -> None:
    with ReplayServer(replay(capture)) as server:
        [result] = talk(server.url, [HELLO])
    for line, told in zip(result.error.details, capture.json["detail"], strict=True):
        assert told["msg"] in line
        assert "\n" not in line
        assert len(line) < 300
        for part in told["loc"][1:]:
            index = isinstance(part, int) and told["type"] != "json_invalid"
            assert f"[{part}]" in line if index else str(part) in line
        assert line in str(result.error)


@pytest.mark.parametrize("capture", REFUSALS, ids=repr)
def test_a_key_shows_in_no_error(talk: Talk, capture: Capture) -> None:
    with ReplayServer(replay(capture)) as server:
        [result] = talk(server.url, [HELLO])
    shown = [str(result.error), repr(result.error), *traceback.format_exception(result.error)]
    assert KEY not in "".join(shown)
    assert KEY not in repr(vars(result.error))


@pytest.mark.parametrize("capture", ANSWERS_OF_OTHER_ROUTES, ids=repr)
@pytest.mark.parametrize("ask", [HELLO, STREAM_HELLO], ids=["create", "create_stream"])
def test_an_answer_that_is_no_chat_is_no_empty_chat(talk: Talk, ask: Ask, capture: Capture) -> None:
    with ReplayServer(replay(capture)) as server:
        [result] = talk(server.url, [ask])
    assert type(result.error) is tabbyapi.RequestError
    assert result.error.code == "request_error"
    assert "Is this really a TabbyAPI server?" in str(result.error)


@pytest.mark.parametrize(
    ("status", "header", "body", "words"),
    [
        (200, "content-type: text/html", b"<html><title>Welcome</title>", ["HTML", "TabbyAPI"]),
        (200, "content-type: application/json", b"", ["empty", "TabbyAPI"]),
        (200, "content-type: application/json", b'{"choices": 5}', ["TabbyAPI"]),
        (200, "content-type: application/json", b"\xff\xfe\x00", ["TabbyAPI"]),
        (200, "content-type: text/plain", b"hello", ["text/plain", "hello", "TabbyAPI"]),
    ],
    ids=["html", "empty", "wrong shape", "no text", "plain text"],
)
@pytest.mark.parametrize("ask", [HELLO, STREAM_HELLO], ids=["create", "create_stream"])
def test_a_server_that_is_no_tabbyapi_is_recognised(
    talk: Talk, ask: Ask, status: int, header: str, body: bytes, words: list[str]
) -> None:
    with ReplayServer(json_reply(status, body, header)) as server:
        [result] = talk(server.url, [ask])
    assert type(result.error) is tabbyapi.RequestError
    assert all(word in str(result.error) for word in words)
    assert server.url in str(result.error)


@pytest.mark.parametrize("ask", [HELLO, STREAM_HELLO], ids=["create", "create_stream"])
def test_an_error_page_of_something_else_points_at_the_address(talk: Talk, ask: Ask) -> None:
    page = b"<html><h1>404 Not Found</h1><hr>nginx</html>"
    with ReplayServer(json_reply(404, page, "content-type: text/html")) as server:
        [result] = talk(server.url, [ask])
    assert type(result.error) is tabbyapi.NotFoundError
    assert "address" in str(result.error)
    assert "nginx" in result.error.body


def test_too_many_requests_tell_when_to_come_back(talk: Talk) -> None:
    answer = json_reply(
        429, {"detail": "Slow down."}, "content-type: application/json", "retry-after: 7"
    )
    with ReplayServer(answer) as server:
        [result] = talk(server.url, [HELLO], retry=0)
    assert type(result.error) is tabbyapi.RateLimitError
    assert result.error.code == "rate_limit_exceeded"
    assert result.error.retry_after == 7
    assert "Slow down." in str(result.error)


def test_nothing_listening_says_how_to_get_a_server(talk: Talk) -> None:
    with ReplayServer(json_reply(200, {})) as server:
        pass
    [result] = talk(server.url, [HELLO], retry=0)
    assert type(result.error) is tabbyapi.ConnectError
    assert isinstance(result.error, ConnectionError)
    assert (result.error.code, result.error.status_code) == ("request_error", None)
    assert server.url in str(result.error)
    assert "tabbyapi serve" in str(result.error)


def test_malformed_json_is_located(talk: Talk) -> None:
    capture = next(c for c in LISTS if c.json["detail"][0]["type"] == "json_invalid")
    with ReplayServer(replay(capture)) as server:
        (outcome,) = talk(server.url, [HELLO])
    assert isinstance(outcome.error, tabbyapi.InvalidRequestError)
    (line,) = outcome.error.details
    assert line == "character 14 of the body: JSON decode error (Expecting value)"


def test_an_error_said_in_two_ways_keeps_its_code(talk: Talk) -> None:
    error = {"message": "The prompt is too long.", "code": "context_length_exceeded"}
    answer = json_reply(400, {"detail": "The prompt is too long.", "error": error})
    with ReplayServer(answer) as server:
        [result] = talk(server.url, [HELLO])
    assert type(result.error) is tabbyapi.ContextLengthError
    assert "The prompt is too long." in str(result.error)
