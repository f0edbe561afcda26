"""`POST /v1/completions`: text that goes on from a prompt."""

from __future__ import annotations

import time
from typing import Any, cast
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from ..engine import TokenProbability
from ..errors import HTTPError, spaced
from ..generation.job import Finish, TextDelta
from ..generation.jobs import MOST_CHOICES, make_job, with_seeds
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
    """One prompt or several, each answered `n` times. `echo` and `suffix` do nothing.

    A prompt is text or token ids.
    """

    prompt: str | list[str] | list[int] | list[list[int]]

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, as a list."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return cast(list[str | list[int]], self.prompt)


class ParityCompletionRequest(CompletionRequest):
    """As TabbyAPI takes it."""

    prompt: str | list[str]


class TextChoice:
    """One of the answers, growing."""

    def __init__(self, index: int, logprobs: int | None) -> None:
        self.index = index
        self.end: Finish | None = None
        self._logprobs = logprobs
        self._text: list[str] = []
        self._tokens: list[TokenProbability] = []

    def feed(self, delta: TextDelta) -> None:
        """Take a delta."""
        self._text.append(delta.text)
        if self._logprobs is not None:
            self._tokens += delta.probabilities or []

    def finish(self, end: Finish) -> None:
        """Take the end."""
        self.end = end

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
        assert self.end is not None
        return "length" if self.end.eos_reason == "max_new_tokens" else "stop"

    def whole(self) -> dict[str, Any]:
        """The choice of an answer that is not streamed."""
        assert self.end is not None
        text = "".join(self._text)
        return {
            "index": self.index,
            "finish_reason": self.finish_reason,
            "eos_reason": self.end.eos_reason,
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
        chunks = _TextChunks(answer.id, answer.loaded.file.name, folds_usage=answer.wants_usage)
        return answer_stream(answer, chunks)
    return await answer_whole(request, answer, lambda: _body(answer))


async def _prepare(
    request: Request, body: CompletionRequest, runtime: Runtime
) -> Answer[TextChoice]:
    loaded = await chosen_model(request, body.model, runtime)
    prompts = body.prompts
    count = body.n or 1
    if not prompts:
        raise HTTPError(400, "The prompt is empty: there is no text in it.")
    if len(prompts) * count > MOST_CHOICES:
        raise HTTPError(
            400, f"{len(prompts)} prompts times n ({count}) are more than {MOST_CHOICES} answers"
        )
    if runtime.settings.parity:
        body = body.as_tabbyapi_reads()
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

    def __init__(self, request_id: str, model: str, *, folds_usage: bool) -> None:
        self._folds_usage = folds_usage
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

    def deltas(self, out: list[bytes], choice: TextChoice, deltas: list[TextDelta]) -> None:
        """A chunk for each delta."""
        for delta in deltas:
            if logprobs := choice.logprobs(delta.probabilities):
                body = {"index": choice.index, "text": delta.text, "finish_reason": None}
                out.append(self._chunk(body | {"logprobs": logprobs}))
                continue
            text = self._encode(delta.text)
            out.append(
                b'%b[{"index": %d, "text": %b%b' % (self._head, choice.index, text, self._tail)
            )

    def last(
        self, out: list[bytes], choice: TextChoice, end: Finish, use: dict[str, object] | None
    ) -> None:
        """The finishing chunk, with the usage if that is given."""
        choice.finish(end)
        body = {"index": choice.index, "text": "", "finish_reason": choice.finish_reason}
        if use is None or not self._folds_usage:
            body["eos_reason"] = end.eos_reason
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


ROUTES = [
    post(
        "/v1/completions",
        completions,
        CompletionRequest,
        parity_body=ParityCompletionRequest,
    )
]
