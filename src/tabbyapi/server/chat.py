"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from functools import partial
from uuid import uuid4

from starlette.requests import Request
from starlette.types import ASGIApp

from .answering import Answer, answer_stream, answer_whole
from .answers import Refused
from .chat_chunks import ChatChunks
from .choices import Choice
from .constraints import constraint, forced_call, wants_json
from .inline import chosen_model
from .jobs import make_job, several
from .limits import check_limits
from .prompts import chat_prompt
from .reasoning import ReasoningSplitter, opens_reasoning
from .requests import ChatCompletionRequest
from .runtime import Runtime
from .sampling import alternatives
from .sse import unless_gone
from .timebox import timeboxed
from .toolcalls import ToolCallSplitter
from .vision import image_marker, placed_images, seen_images
from .work import Budget

__all__ = ["chat_completions"]


async def chat_completions(
    request: Request, body: ChatCompletionRequest, runtime: Runtime
) -> ASGIApp:
    """Answer a chat request, streamed or whole."""
    body = runtime.overrides.apply(body)
    chat = await unless_gone(request.receive, _prepare(request, body, runtime))
    if body.stream and runtime.settings.streaming:
        return answer_stream(chat, ChatChunks(chat.id, chat.loaded.file.name))
    return await answer_whole(request, chat, lambda: _body(chat))


def _body(chat: Answer[Choice]) -> dict[str, object]:
    return {
        "id": f"cmpl-{chat.id}",
        "choices": [choice.message() for choice in chat.choices],
        "created": int(time.time()),
        "model": chat.loaded.file.name,
        "object": "chat.completion",
        "usage": chat.usage(),
    }


async def _prepare(
    request: Request, body: ChatCompletionRequest, runtime: Runtime
) -> Answer[Choice]:
    loaded = await chosen_model(request, body.model, runtime)
    settings = runtime.settings
    if loaded.template is None:
        raise Refused(422, "Chat completions are disabled because a prompt template is not set.")
    check_limits(body)
    if len(body.messages) > settings.max_messages:
        raise Refused(413, f"The request has more than {settings.max_messages:,} messages.")
    urls = seen_images(body, loaded, settings)
    marker = await image_marker(runtime, loaded) if urls else ""
    render = partial(chat_prompt, bos=loaded.bos, eos=loaded.eos, image=marker)
    text = await timeboxed(render, body, loaded.template)
    start, end = settings.reasoning_start, settings.reasoning_end
    splits = settings.reasoning == "on" or (settings.reasoning == "auto" and loaded.knows_reasoning)
    inside = splits and opens_reasoning(text, start, end)
    grammar = forced_call(body, after_reasoning=end if inside else "")
    forced = grammar is not None
    if grammar is None:
        grammar = constraint(body, after_reasoning=end if inside else "")
    budget = _budget(body, start, end, inside) if splits and grammar is None else None
    images = await placed_images(urls, text.count(marker), settings) if urls else ()
    job = await make_job(runtime, loaded, body, text, grammar=grammar, budget=budget, images=images)
    # Markup inside of JSON is text that somebody wrote, no call.
    parses = forced or (
        not wants_json(body)
        and body.tool_choice != "none"
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
    jobs = several(job, count)
    return Answer(runtime, loaded, "Chat completion", jobs, choices, body.wants_usage, uuid4().hex)


def _budget(body: ChatCompletionRequest, start: str, end: str, inside: bool) -> Budget | None:
    tokens = body.reasoning_budget_tokens
    if tokens is None and body.reasoning is not None:
        tokens = body.reasoning.max_tokens
    if tokens is None or tokens < 0:
        return None
    return Budget(tokens, body.reasoning_budget_message or "", start, end, inside)
