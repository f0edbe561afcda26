"""A server without a model, which answers what a test has told it to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from ..testing import ReceivedRequest, ReplayServer, Reply, json_reply

__all__ = ["TabbyServer"]

_MODEL = "scripted"
_CONTEXT = 4096
_DIMENSIONS = 8
_GENERATING = ("/v1/chat/completions", "/v1/completions")

Answer = Callable[[ReceivedRequest], Reply]


class TabbyServer:
    """A server on this machine that answers as it is told, whole or as a stream.

    Requests for generation take the answers of `say`, `call_tool` and `fail` in order; without one
    they are refused with status 501. `/health`, `/v1/model`, `/v1/models`, token counts (a word is
    a token) and embeddings (equal texts have equal vectors) are answered by themselves.

    Attributes:
        requests: the requests for generation, oldest first: `.json` is what the program asked.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self._answers: deque[Answer] = deque()
        self._routes: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._server = ReplayServer([self._reply])

    @property
    def url(self) -> str:
        """The server's address, which is in TABBY_API_ENDPOINT too."""
        return self._server.url

    def say(self, text: str, *, finish_reason: str = "stop") -> None:
        """Answer the next request with this text; a stream has a chunk for each word."""

        def answer(request: ReceivedRequest) -> Reply:
            return _answered(request, text, None, finish_reason)

        self._answers.append(answer)

    def call_tool(self, name: str, /, **arguments: Any) -> None:
        """Answer the next request with a call of a tool."""
        function = {"name": name, "arguments": json.dumps(arguments)}

        def answer(request: ReceivedRequest) -> Reply:
            number = len(self.requests)
            call = {"id": f"call_{number}", "type": "function", "function": function}
            return _answered(request, None, call, "tool_calls")

        self._answers.append(answer)

    def fail(self, status: int = 500, detail: str = "scripted failure", **headers: str) -> None:
        """Answer the next request with an error. `retry_after="1"` becomes a header."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        reply = json_reply(status, {"detail": detail}, "content-type: application/json", *lines)
        self._answers.append(lambda request: reply)

    def break_off(self, text: str = "") -> None:
        """Answer the next request with a stream that breaks after this text."""

        def answer(request: ReceivedRequest) -> Reply:
            return Reply([_STREAM, *_events(request, text, None, None)], "reset")

        self._answers.append(answer)

    def route(self, path: str, value: Any, status: int = 200) -> None:
        """Answer each request of a path with this JSON."""
        self._routes[path] = json_reply(status, value)

    def _reply(self, request: ReceivedRequest) -> Reply:
        path = request.target.partition("?")[0]
        if path in self._routes:
            return self._routes[path]
        if path not in _GENERATING:
            return _known(path, request)
        with self._lock:
            self.requests.append(request)
            answer = self._answers.popleft() if self._answers else None
        if answer is None:
            return json_reply(
                501,
                {
                    "detail": f"the test has no answer for this request (number "
                    f"{len(self.requests)}); tell tabby_server what to say"
                },
            )
        return answer(request)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"TabbyServer({self.url!r})"


_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def _answered(
    request: ReceivedRequest, text: str | None, call: Mapping[str, Any] | None, reason: str
) -> Reply:
    asked = request.json
    if asked.get("stream"):
        return Reply([_STREAM, *_events(request, text, call, reason), b"data: [DONE]\n\n"], "close")
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
    if _is_chat(request):
        message = {"role": "assistant", "content": text}
        choice["message"] = message if call is None else {**message, "tool_calls": [call]}
    else:
        choice["text"] = text or ""
    kind = "chat.completion" if _is_chat(request) else "text_completion"
    answer = {**_head(request), "object": kind, "choices": [choice]}
    return json_reply(200, {**answer, "usage": _usage(request, text)})


def _events(
    request: ReceivedRequest, text: str | None, call: Mapping[str, Any] | None, reason: str | None
) -> list[bytes]:
    chat = _is_chat(request)
    head = {**_head(request), "object": "chat.completion.chunk" if chat else "text_completion"}
    words = (text or "").split(" ")
    pieces = [word if i == 0 else f" {word}" for i, word in enumerate(words)] if text else []
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
    if call is not None:
        deltas.append({"tool_calls": [{**call, "index": 0}]})
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta} if chat else {"index": 0, "text": delta["content"]}
        for delta in deltas
    ]
    if reason is not None:
        empty: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        choices.append({"index": 0, **empty, "finish_reason": reason})
    events: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
    if reason is not None:
        events.append({**head, "choices": [], "usage": _usage(request, text)})
    return [f"data: {json.dumps(event)}\n\n".encode() for event in events]


def _is_chat(request: ReceivedRequest) -> bool:
    return request.target.partition("?")[0] == _GENERATING[0]


def _head(request: ReceivedRequest) -> dict[str, Any]:
    return {"id": "cmpl-scripted", "created": 0, "model": request.json.get("model") or _MODEL}


def _usage(request: ReceivedRequest, text: str | None) -> dict[str, int]:
    asked = request.json
    prompt = len(json.dumps(asked.get("messages") or asked.get("prompt")).split())
    made = len((text or "call").split())
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def _known(path: str, request: ReceivedRequest) -> Reply:
    """The answers that need no telling."""
    card = {"id": _MODEL, "object": "model", "parameters": {"max_seq_len": _CONTEXT}}
    if path == "/health":
        return json_reply(200, {"status": "healthy", "issues": []})
    if path == "/v1/model":
        return json_reply(200, card)
    if path in ("/v1/models", "/v1/model/list"):
        return json_reply(200, {"object": "list", "data": [card]})
    if path == "/v1/token/encode":
        text = request.json.get("text")
        words = (text if isinstance(text, str) else json.dumps(text)).split()
        return json_reply(200, {"tokens": list(range(len(words))), "length": len(words)})
    if path == "/v1/embeddings":
        return _embedded(request.json.get("input"))
    return json_reply(404, {"detail": f"tabby_server has no {path}; tell it with route(...)"})


def _embedded(given: Any) -> Reply:
    texts = [given] if isinstance(given, str) else list(given or ())
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text)}
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_reply(200, {"object": "list", "data": data, "model": _MODEL, "usage": usage})


def _vector(text: str) -> list[float]:
    """Numbers between -1 and 1 that depend on the text alone."""
    from hashlib import sha256

    return [byte / 127.5 - 1 for byte in sha256(text.encode()).digest()[:_DIMENSIONS]]
