"""`POST /v1/completions`: text that goes on from a prompt."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from ..engine import TokenProbability
from ..errors import HTTPError, spaced
from ..generation.job import Finish, TextDelta
from ..generation.jobs import make_job, with_seeds
from ..generation.limits import MOST_CHOICES
from ..generation.respond import Answer, answer_stream, answer_whole
from ..generation.sampling import alternatives
from ..grammar.constraints import constraint
from ..http.routing import post
from ..http.sse import unless_gone
from ..runtime import Runtime
from ..schemas import GenerationRequest
from .model_choice import chosen_model

__all__ = ["ROUTES"]

_IMPOSSIBLE = -1000.0


class CompletionRequest(GenerationRequest):
    """One prompt or several, each answered `n` times. `echo` and `suffix` do nothing."""

    prompt: str | list[str]


class TextChoice:
    """One of the answers, growing."""

    def __init__(self, index: int, logprobs: int | None) -> None:
        self.index = index
        self.ending: Finish | None = None
        self._logprobs = logprobs
        self._text: list[str] = []
        self._tokens: list[TokenProbability] = []

    def feed(self, piece: TextDelta) -> None:
        """Take a piece."""
        self._text.append(piece.text)
        if self._logprobs is not None:
            self._tokens += piece.probabilities or []

    def finish(self, ending: Finish) -> None:
        """Take the end."""
        self.ending = ending

    def logprobs(self, tokens: list[TokenProbability] | None) -> dict[str, Any] | None:
        """Log probabilities in the legacy shape: lists side by side, offsets from 0."""
        if self._logprobs is None or not tokens:
            return None
        offsets, at = [], 0
        for token in tokens:
            offsets.append(at)
            at += len(token.token)
        tops = [token.top_logprobs[: self._logprobs] for token in tokens]
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [_logprob(token.logprob) for token in tokens],
            "top_logprobs": [{t.token: _logprob(t.logprob) for t in top} or None for top in tops],
            "text_offset": offsets,
        }

    @property
    def finish_reason(self) -> str:
        """How the protocol names the end."""
        assert self.ending is not None
        return "length" if self.ending.eos_reason == "max_new_tokens" else "stop"

    def whole(self) -> dict[str, Any]:
        """The choice of an answer that is not streamed."""
        assert self.ending is not None
        text = "".join(self._text)
        return {
            "index": self.index,
            "finish_reason": self.finish_reason,
            "eos_reason": self.ending.eos_reason,
            "logprobs": self.logprobs(self._tokens),
            "text": text if text.strip() else "",
        }


def _logprob(value: float | None) -> float:
    return _IMPOSSIBLE if value is None else max(_IMPOSSIBLE, value)


async def completions(request: Request, body: CompletionRequest, runtime: Runtime) -> ASGIApp:
    """Answer a completion request, streamed or whole."""
    body = runtime.overrides.apply(body)
    answer = await unless_gone(request.receive, _prepare(request, body, runtime))
    if body.stream and runtime.settings.streaming:
        return answer_stream(answer, _TextChunks(answer.id, answer.loaded.file.name))
    return await answer_whole(request, answer, lambda: _body(answer))


async def _prepare(
    request: Request, body: CompletionRequest, runtime: Runtime
) -> Answer[TextChoice]:
    loaded = await chosen_model(request, body.model, runtime)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    count = body.n or 1
    if not prompts:
        raise HTTPError(400, "The prompt is empty: there is no text in it.")
    if len(prompts) * count > MOST_CHOICES:
        raise HTTPError(
            400, f"{len(prompts)} prompts times n ({count}) are more than {MOST_CHOICES} answers"
        )
    grammar = constraint(body)
    add_bos = body.add_bos_token is not False
    jobs = []
    for prompt in prompts:
        job = await make_job(runtime, loaded, body, prompt, grammar=grammar, add_bos=add_bos)
        jobs += with_seeds(job, count)
    choices = [TextChoice(index, alternatives(body)) for index in range(len(jobs))]
    return Answer(runtime, loaded, "Completion", jobs, choices, body.wants_usage, uuid4().hex)


def _body(answer: Answer[TextChoice]) -> dict[str, object]:
    return {
        "id": f"cmpl-{answer.id}",
        "choices": [choice.whole() for choice in answer.choices],
        "created": int(time.time()),
        "model": answer.loaded.file.name,
        "object": "text_completion",
        "usage": answer.usage(),
    }


class _TextChunks:
    """Writes the chunks of a completion stream, which name the model in `model_name`.

    The common chunk, text alone, is one JSON string between constant bytes.
    """

    def __init__(self, request_id: str, model: str) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created = int(time.time())
        self._model = model
        self._head = (
            f'data: {{"id": "{self._id}", "object": "text_completion", "choices": '.encode()
        )
        self._tail = b', "finish_reason": null}], "created": %d, "model_name": %b}\r\n\r\n' % (
            self._created,
            spaced(model),
        )
        self._encode = msgspec.json.Encoder().encode

    def pieces(self, out: list[bytes], choice: TextChoice, pieces: list[TextDelta]) -> None:
        """A chunk for each piece."""
        for piece in pieces:
            if logprobs := choice.logprobs(piece.probabilities):
                body = {"index": choice.index, "text": piece.text, "finish_reason": None}
                out.append(self._chunk(body | {"logprobs": logprobs}))
                continue
            text = self._encode(piece.text)
            out.append(
                b'%b[{"index": %d, "text": %b%b' % (self._head, choice.index, text, self._tail)
            )

    def last(
        self, out: list[bytes], choice: TextChoice, ending: Finish, use: dict[str, object] | None
    ) -> None:
        """The finishing chunk, with the usage if that is given."""
        choice.finish(ending)
        body = {"index": choice.index, "text": "", "finish_reason": choice.finish_reason}
        if use is None:
            body["eos_reason"] = ending.eos_reason
        out.append(self._chunk(body, use))

    def _chunk(self, choice: dict[str, Any], use: dict[str, object] | None = None) -> bytes:
        body: dict[str, object] = {
            "id": self._id,
            "object": "text_completion",
            "choices": [choice],
            "created": self._created,
        }
        if use is not None:
            body["usage"] = use
        body["model_name"] = self._model
        return b"data: " + spaced(body) + b"\r\n\r\n"


ROUTES = [post("/v1/completions", completions, CompletionRequest)]
