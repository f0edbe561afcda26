"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from .answers import Refused, context_refused, error_event, json_answer, spaced
from .choices import Choice, usage
from .constraints import constraint, forced_call
from .engine import EngineDied, EngineRefusal
from .generation import Budget, Ending, Job, Pictured, Piece, Step, generate
from .mailbox import Mailbox
from .prompts import chat_prompt
from .reasoning import ReasoningSplitter, opens_reasoning
from .requests import ChatCompletionRequest
from .runtime import Loaded, Runtime
from .sampling import alternatives, sampling_parameters, stop_conditions
from .sse import DONE, EventStream, ping, unless_gone
from .toolcalls import ToolCallSplitter
from .vision import image_marker, placed_images, seen_images

__all__ = ["chat_completions"]

log = logging.getLogger("tabbyapi.server")

_MOST_CHOICES = 128

_PING = "ping"
_Failure = EngineDied | EngineRefusal | Refused
_Mail = tuple[int, Step | _Failure] | str


@dataclass(frozen=True)
class _Chat:
    """A chat request made ready."""

    runtime: Runtime
    loaded: Loaded
    request: ChatCompletionRequest
    jobs: list[Job]
    choices: list[Choice]
    id: str


async def chat_completions(
    request: Request, body: ChatCompletionRequest, runtime: Runtime
) -> ASGIApp:
    """Answer a chat request, streamed or whole."""
    chat = await unless_gone(request.receive, _prepare(runtime, body))
    gate = runtime.gate
    gate.enter()
    if body.stream and runtime.settings.streaming:
        return EventStream(_stream(chat), on_close=gate.leave)
    try:
        return json_answer(await unless_gone(request.receive, _whole(chat)))
    finally:
        gate.leave()


# ------------------------------------------------------------------------- preparation


async def _prepare(runtime: Runtime, body: ChatCompletionRequest) -> _Chat:
    loaded = runtime.model()
    settings = runtime.settings
    if loaded.template is None:
        raise Refused(422, "Chat completions are disabled because a prompt template is not set.")
    if (body.n or 1) > _MOST_CHOICES:
        raise Refused(400, f"n is {body.n}; this server answers at most {_MOST_CHOICES} at once")
    urls = seen_images(body, loaded, settings)
    marker = await image_marker(runtime, loaded) if urls else ""
    text = chat_prompt(body, loaded.template, bos=loaded.bos, eos=loaded.eos, image=marker)
    start, end = settings.reasoning_start, settings.reasoning_end
    splits = settings.reasoning == "on" or (settings.reasoning == "auto" and loaded.knows_reasoning)
    inside = splits and opens_reasoning(text, start, end)
    grammar = forced_call(body, after_reasoning=end if inside else "")
    forced = grammar is not None
    if grammar is None:
        grammar = constraint(body, after_reasoning=end if inside else "")
    budget = _budget(body, start, end, inside) if splits and grammar is None else None
    images = await placed_images(urls, text.count(marker), settings) if urls else ()
    job = await _job(runtime, loaded, body, text, grammar, budget, images)
    parses = forced or (
        body.tool_choice != "none"
        and (
            settings.tool_format in ("hermes", "qwen3_coder")
            or (settings.tool_format == "auto" and loaded.knows_tools)
        )
    )
    count = body.n or 1
    choices = [
        Choice(
            index,
            splitter=ReasoningSplitter(start, end, reasoning=inside) if splits else None,
            tools=ToolCallSplitter() if parses else None,
            logprobs=alternatives(body),
        )
        for index in range(count)
    ]
    return _Chat(runtime, loaded, body, _several(job, count), choices, uuid4().hex)


def _several(job: Job, count: int) -> list[Job]:
    """A job for each choice: the same, but for the seed."""
    seed = job.parameters.get("seed")
    if seed is None or count == 1:
        return [job] * count
    return [
        replace(job, parameters=job.parameters | {"seed": (seed + k) % 2**32}) for k in range(count)
    ]


def _budget(body: ChatCompletionRequest, start: str, end: str, inside: bool) -> Budget | None:
    tokens = body.reasoning_budget_tokens
    if tokens is None and body.reasoning is not None:
        tokens = body.reasoning.max_tokens
    if tokens is None or tokens < 0:
        return None
    return Budget(tokens, body.reasoning_budget_message or "", start, end, inside)


async def _job(
    runtime: Runtime,
    loaded: Loaded,
    body: ChatCompletionRequest,
    text: str,
    grammar: str | None,
    budget: Budget | None,
    images: tuple[str, ...],
) -> Job:
    parameters = sampling_parameters(body, loaded.n_ctx)
    strings, ids = stop_conditions(body.stop)
    parameters |= {"cache_prompt": True, "stop": strings}
    if grammar is not None:
        parameters["grammar"] = grammar
    banned = [body.banned_strings] if isinstance(body.banned_strings, str) else body.banned_strings
    banned = [text for text in banned or () if text]
    if banned and grammar is not None:
        raise Refused(400, "banned_strings cannot be combined with a schema, pattern or grammar")
    native = await runtime.native(loaded)
    try:
        # A template that writes the BOS token itself must not get a second one.
        has_bos = bool(loaded.bos) and text.startswith(loaded.bos)
        if images:
            adds_bos = has_bos and await native.tokenize("", bos=True)
            text, prompt = text.removeprefix(loaded.bos) if adds_bos else text, []
        else:
            prompt = await native.tokenize(text, bos=not has_bos)
    except (EngineDied, EngineRefusal) as error:
        raise _aborted(uuid4().hex, error) from None
    if not prompt and not images:
        raise Refused(400, "The prompt is empty: the template made no text of these messages.")
    if len(prompt) >= loaded.n_ctx:
        raise context_refused(
            f"Prompt length {len(prompt)} exceeds the available context size of "
            f"{loaded.n_ctx} tokens"
        )
    return Job(
        prompt=prompt,
        parameters=parameters,
        pictured=Pictured(text, images) if images else None,
        constrained=grammar is not None,
        stop_ids=frozenset(ids),
        banned=tuple(banned),
        min_tokens=body.min_tokens or 0,
        loop_window=body.loop_detect_window or 0,
        budget=budget,
        eos_text=loaded.eos,
    )


def _aborted(request_id: str, error: _Failure) -> Refused:
    """The answer to a generation that failed."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, EngineRefusal) and error.overflow:
        return context_refused(str(error))
    if isinstance(error, EngineRefusal) and error.status == 400:
        return Refused(400, f"The engine refused the request: {error}")
    return Refused(503, f"Chat completion {request_id} aborted. {_reason(error)}")


def _report(chat: _Chat, error: _Failure) -> None:
    """Note a failure that is the server's, not the request's."""
    if not (isinstance(error, EngineRefusal) and error.status == 400):
        chat.runtime.report(f"Chat completion {chat.id}: {_reason(error)}")


def _reason(error: _Failure) -> str:
    if isinstance(error, EngineDied):
        return "The engine stopped while answering; it is restarted, so send the request again."
    return f"The engine failed: {error}"


# -------------------------------------------------------------------------- generation


async def _pump(chat: _Chat, index: int, mailbox: Mailbox[_Mail]) -> None:
    """Generate one choice into the mailbox."""
    try:
        async with chat.runtime.gate.slot:
            native = await chat.runtime.native(chat.loaded)
            async with aclosing(generate(native, chat.jobs[index])) as steps:
                async for step in steps:
                    mailbox.put((index, step))
    except (EngineDied, EngineRefusal, Refused) as error:
        mailbox.put((index, error))
    except Exception as error:
        # A fault of ours: the client must not wait for ever for what this task will never send.
        log.exception("generation failed")
        mailbox.put((index, EngineRefusal(f"internal error ({type(error).__name__})")))


async def _mail(chat: _Chat, ping_interval: float = 0.0) -> AsyncGenerator[list[_Mail], None]:
    """Everything the choices generate, with pings between."""
    mailbox: Mailbox[_Mail] = Mailbox()
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal timer
        mailbox.put(_PING)
        timer = loop.call_later(ping_interval, tick)

    if ping_interval > 0:
        timer = loop.call_later(ping_interval, tick)
    pumps = [asyncio.create_task(_pump(chat, k, mailbox)) for k in range(len(chat.jobs))]
    try:
        while True:
            yield await mailbox.take()
    finally:
        if timer is not None:
            timer.cancel()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _whole(chat: _Chat) -> dict[str, object]:
    remaining = len(chat.choices)
    async with aclosing(_mail(chat)) as batches:
        async for batch in batches:
            for mail in batch:
                assert not isinstance(mail, str)
                index, step = mail
                choice = chat.choices[index]
                if isinstance(step, list):
                    for piece in step:
                        choice.feed(piece)
                elif isinstance(step, Ending):
                    choice.finish(step)
                    remaining -= 1
                else:
                    _report(chat, step)
                    raise _aborted(chat.id, step)
            if not remaining:
                break
    return {
        "id": f"cmpl-{chat.id}",
        "choices": [choice.message() for choice in chat.choices],
        "created": int(time.time()),
        "model": chat.loaded.file.name,
        "object": "chat.completion",
        "usage": _usage(chat) if chat.request.wants_usage else None,
    }


def _usage(chat: _Chat) -> dict[str, object]:
    endings = [choice.ending for choice in chat.choices if choice.ending is not None]
    return usage(len(chat.jobs[0].prompt) or endings[0].prompt_tokens, endings)


# ------------------------------------------------------------------------------ stream


class _Chunks:
    """Writes chunks. The common one, text alone, is one JSON string between constant bytes."""

    def __init__(self, chat: _Chat) -> None:
        self.id = f"chatcmpl-{chat.id}"
        self.created = int(time.time())
        self.model = chat.loaded.file.name
        head = f'data: {{"id": "{self.id}", "object": "chat.completion.chunk", "created": '
        self._head = f'{head}{self.created}, "choices": [{{"index": '.encode()
        self._tail = b'}, "finish_reason": null}], "model": ' + spaced(self.model) + b"}\r\n\r\n"
        self._encode = msgspec.json.Encoder().encode

    def text(self, index: int, text: str) -> bytes:
        """A chunk of content alone."""
        return b'%b%d, "delta": {"content": %b%b' % (
            self._head,
            index,
            self._encode(text),
            self._tail,
        )

    def chunk(self, choice: dict[str, object], use: dict[str, object] | None = None) -> bytes:
        """Any other chunk."""
        body: dict[str, object] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "choices": [choice],
        }
        if use is not None:
            body["usage"] = use
        body["model"] = self.model
        return b"data: " + spaced(body) + b"\r\n\r\n"


async def _stream(chat: _Chat) -> AsyncGenerator[bytes, None]:
    chunks = _Chunks(chat)
    remaining = len(chat.choices)
    async with aclosing(_mail(chat, chat.runtime.settings.ping_interval)) as batches:
        async for batch in batches:
            out: list[bytes] = []
            for mail in batch:
                if isinstance(mail, str):
                    out.append(ping())
                    continue
                index, step = mail
                choice = chat.choices[index]
                if isinstance(step, list):
                    _pieces(out, chunks, choice, step)
                elif isinstance(step, Ending):
                    remaining -= 1
                    _last(out, chunks, choice, step, chat, alone=not remaining)
                else:
                    _report(chat, step)
                    out.append(_failure(chat, step))
                    yield b"".join(out)
                    return
            if not remaining:
                out.append(DONE)
            if out:
                yield b"".join(out)
            if not remaining:
                return


def _pieces(out: list[bytes], chunks: _Chunks, choice: Choice, pieces: list[Piece]) -> None:
    for piece in pieces:
        if choice.plain:
            out.append(chunks.text(choice.index, piece.text))
            continue
        delta = choice.feed(piece)
        if not delta:
            continue
        body: dict[str, object] = {"index": choice.index, "delta": delta, "finish_reason": None}
        if "content" in delta and (logprobs := choice.take_logprobs()):
            body["logprobs"] = logprobs
        out.append(chunks.chunk(body))


def _last(
    out: list[bytes], chunks: _Chunks, choice: Choice, ending: Ending, chat: _Chat, *, alone: bool
) -> None:
    """The finishing chunk; the last one of a stream with usage is folded into the usage chunk."""
    delta = choice.finish(ending)
    finish: dict[str, object] = {"index": choice.index, "delta": delta}
    logprobs = choice.take_logprobs()
    if chat.request.wants_usage and alone:
        if delta or logprobs:
            data = finish | {"finish_reason": None}
            out.append(chunks.chunk(data | {"logprobs": logprobs} if logprobs else data))
        last: dict[str, object] = {"index": choice.index, "delta": {}}
        last["finish_reason"] = choice.finish_reason
        out.append(chunks.chunk(last, _usage(chat)))
        return
    finish |= {"finish_reason": choice.finish_reason, "eos_reason": ending.eos_reason}
    if logprobs:
        finish["logprobs"] = logprobs
    out.append(chunks.chunk(finish))


def _failure(chat: _Chat, error: _Failure) -> bytes:
    answer = _aborted(chat.id, error)
    if isinstance(error, EngineRefusal) and error.overflow:
        return error_event(str(error), overflow=True)
    if isinstance(error, Refused):
        return error_event(f"Chat completion aborted. {answer}")
    return error_event(f"Chat completion aborted. {_reason(error)}")
