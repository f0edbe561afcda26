"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from starlette.requests import Request
from starlette.types import ASGIApp

from ..errors import HTTPError
from ..generation.chat_chunks import ChatChunks
from ..generation.choices import Choice
from ..generation.job import Budget
from ..generation.jobs import check_limits, make_job, with_seeds
from ..generation.reasoning import ReasoningSplitter, opens_reasoning
from ..generation.respond import Answer, answer_stream, answer_whole
from ..generation.sampling import alternatives
from ..generation.toolcalls import (
    MARKERS,
    CallSplitter,
    HarmonyCalls,
    HarmonySplitter,
    Llama3Splitter,
    MistralSplitter,
    ToolCallSplitter,
)
from ..grammar.constraints import constraint, forced_call, wants_json
from ..http.routing import post
from ..http.sse import unless_gone
from ..prompt.render import chat_prompt
from ..prompt.vision import image_marker, placed_images, seen_images
from ..runtime import Runtime
from ..schemas import ChatCompletionRequest, ParityChatCompletionRequest
from .model_choice import chosen_model

__all__ = ["ROUTES"]

_SPLITTERS: dict[str, Callable[[], CallSplitter]] = {
    "hermes": ToolCallSplitter,
    "qwen3_coder": ToolCallSplitter,
    "llama3": Llama3Splitter,
    "mistral": MistralSplitter,
}


async def chat_completions(
    request: Request, body: ChatCompletionRequest, runtime: Runtime
) -> ASGIApp:
    """Answer a chat request, streamed or whole."""
    body = runtime.overrides.apply(body)
    chat = await unless_gone(request.receive, _prepare(request, body, runtime))
    if body.stream and runtime.settings.streaming:
        chunks = ChatChunks(
            chat.id,
            chat.loaded.file.name,
            choices=len(chat.choices),
            folds_usage=chat.wants_usage,
            parity=chat.parity,
        )
        return answer_stream(chat, chunks)
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
        raise HTTPError(422, "Chat completions are disabled because a prompt template is not set.")
    check_limits(body)
    if len(body.messages) > settings.max_messages:
        raise HTTPError(413, f"The request has more than {settings.max_messages:,} messages.")
    urls = seen_images(body, loaded, settings)
    marker = await image_marker(loaded) if urls else ""
    # As llama.cpp does; TabbyAPI drops the tools in silence.
    described = not settings.parity and loaded.has_no_place_for_tools
    text = await chat_prompt(
        body,
        loaded.template,
        bos=loaded.bos,
        eos=loaded.eos,
        image=marker,
        describe_tools=described and body.tool_choice != "none",
    )
    start, end = settings.reasoning_start, settings.reasoning_end
    splits = settings.reasoning == "on" or (settings.reasoning == "auto" and loaded.knows_reasoning)
    last = body.messages[-1].text if body.messages else ""
    continued = bool(body.continue_final_message)
    inside = splits and opens_reasoning(text, start, end, last=last, continued=continued)
    if settings.parity:
        body = body.as_tabbyapi_reads()
    grammar = forced_call(body, after_reasoning=end if inside else "")
    forced = grammar is not None
    if grammar is None:
        grammar = constraint(body, after_reasoning=end if inside else "")
    budget = _budget(body, start, end, inside) if splits and grammar is None else None
    images = await placed_images(urls, text.count(marker), settings) if urls else []
    job = await make_job(runtime, loaded, body, text, grammar=grammar, budget=budget, images=images)
    # Markup inside of JSON is text, no call.
    reads = body.tool_choice != "none" and not wants_json(body)
    form = settings.tool_format if settings.tool_format != "auto" else loaded.tool_format
    if form == "none" and settings.tool_format == "auto" and described and body.tools:
        form = "hermes"
    form = "hermes" if forced else form if reads else "none"
    if form == "llama3" and not body.tools:
        form = "none"
    if form != "none":
        job = replace(job, visible=await loaded.control_tokens(MARKERS))
    count = body.n or 1
    choices = []
    for index in range(count):
        splitter: ReasoningSplitter | HarmonySplitter | None = None
        if splits:
            splitter = ReasoningSplitter(start, end, reasoning=inside)
        tools: CallSplitter | None = None
        if form == "harmony":
            splitter = HarmonySplitter()
            tools = HarmonyCalls(splitter)
        elif form in _SPLITTERS:
            tools = _SPLITTERS[form]()
        probabilities = alternatives(body)
        choices.append(Choice(index, splitter=splitter, tools=tools, logprobs=probabilities))
    jobs = with_seeds(job, count)
    return Answer(runtime, loaded, "Chat completion", jobs, choices, body.wants_usage, uuid4().hex)


def _budget(body: ChatCompletionRequest, start: str, end: str, inside: bool) -> Budget | None:
    tokens = body.reasoning_budget_tokens
    if tokens is None and body.reasoning is not None:
        tokens = body.reasoning.max_tokens
    if tokens is None or tokens < 0:
        return None
    return Budget(tokens, body.reasoning_budget_message or "", start, end, inside)


ROUTES = [
    post(
        "/v1/chat/completions",
        chat_completions,
        ChatCompletionRequest,
        parity_body=ParityChatCompletionRequest,
    )
]
