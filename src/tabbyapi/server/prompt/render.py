"""From a chat request to the prompt's text."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

from ..errors import HTTPError
from ..schemas import ChatCompletionMessage, ChatCompletionRequest
from .templates import PromptTemplate, TemplateError

__all__ = ["chat_prompt", "image_urls", "message_variables"]

_CUT = "\ue000cut-here\ue000"
"""Marks the end of the message that is continued, whose turn the template closes after it."""


def message_variables(
    messages: list[ChatCompletionMessage], image: str = ""
) -> list[dict[str, Any]]:
    """Messages as templates know them: text joined, nulls absent, arguments decoded.

    `image` stands where an image was.
    """
    return [_message(message, image) for message in _tool_answers_in_order(messages)]


def _message(message: ChatCompletionMessage, image: str) -> dict[str, Any]:
    variables = message.model_dump(exclude_none=True, exclude={"content"})
    content = message.content
    if content is not None:
        variables["content"] = (
            content
            if isinstance(content, str)
            else "".join(image if part.type == "image_url" else part.text or "" for part in content)
        )
    for call in variables.get("tool_calls", ()):
        # Text that is no JSON is passed on as it is; none at all means no arguments.
        function = call["function"]
        with contextlib.suppress(ValueError, RecursionError):
            function["arguments"] = json.loads(function["arguments"] or "{}")
        if function["arguments"] is None:
            function["arguments"] = {}
    return variables


def image_urls(messages: Iterable[ChatCompletionMessage]) -> list[str]:
    """The images of a conversation, in order.

    Raises:
        HTTPError: 400, if one has no address.
    """
    urls = []
    for message in messages:
        if message.content is None or isinstance(message.content, str):
            continue
        for part in message.content:
            if part.type != "image_url":
                continue
            if part.image_url is None:
                raise HTTPError(400, "A part of type image_url has no image_url.")
            urls.append(part.image_url.url)
    return urls


def _tool_answers_in_order(messages: list[ChatCompletionMessage]) -> list[ChatCompletionMessage]:
    """Tool messages after an assistant's calls, in the order of the calls."""
    ordered: list[ChatCompletionMessage] = []
    places: dict[str | None, int] = {}
    start = 0
    for message in [*messages, None]:
        if message is not None and message.role == "tool" and places:
            ordered.append(message)
            continue
        if places:
            tail = ordered[start:]
            tail.sort(key=lambda m: places.get(m.tool_call_id, len(places)))
            ordered[start:] = tail
        if message is None:
            break
        ordered.append(message)
        places = {call.id: at for at, call in enumerate(message.tool_calls or [])}
        start = len(ordered)
    return ordered


async def chat_prompt(
    request: ChatCompletionRequest,
    template: PromptTemplate,
    *,
    bos: str,
    eos: str,
    image: str = "",
    describe_tools: bool = False,
) -> str:
    """Render the prompt, with `image` in place of each image.

    `describe_tools` puts the tools into the system message, for a template that has no place for
    them.

    Raises `HTTPError`: 400 (template), 422 (continuation misused).
    """
    opens = request.add_generation_prompt is not False
    continued = bool(request.continue_final_message)
    messages = message_variables(request.messages, image)
    if describe_tools and request.tools:
        _describe_tools(messages, [tool.model_dump() for tool in request.tools])
    if continued:
        _check_continuation(messages, opens)
        messages[-1]["content"] += _CUT
    variables: dict[str, Any] = {}
    options = request.reasoning
    if options is not None:
        variables |= {"reasoning_effort": options.effort, "enable_thinking": options.enabled}
    for name in ("reasoning_effort", "enable_thinking", "verbosity"):
        if (value := getattr(request, name)) is not None:
            variables[name] = value
    variables |= request.template_vars or {}
    variables = {name: value for name, value in variables.items() if value is not None}
    variables |= {
        "messages": messages,
        "add_generation_prompt": opens,
        "bos_token": bos,
        "eos_token": eos,
    }
    if request.tools:
        variables["tools"] = [tool.model_dump() for tool in request.tools]
    if request.functions:
        variables["functions"] = request.functions
    try:
        prompt = await template.render(variables)
    except TemplateError as error:
        raise HTTPError(400, f"TemplateError: {error}") from None
    if continued:
        prompt, cut, _ = prompt.rpartition(_CUT)
        if not cut:
            raise HTTPError(422, "continue_final_message: the template leaves the message out")
    if request.response_prefix and (opens or continued):
        prompt += request.response_prefix
    return prompt


def _describe_tools(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    """Put a description of the tools at the end of the system message, which is made if need be."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    text = (
        f"You may call these functions, each described by a JSON schema:\n{listed}\n"
        "To call one, write nothing but\n"
        '<tool_call>{"name": "the function\'s name", "arguments": {...}}</tool_call>'
    )
    if messages and messages[0]["role"] == "system":
        messages[0] = {**messages[0], "content": f"{messages[0].get('content', '')}\n\n{text}"}
    else:
        messages.insert(0, {"role": "system", "content": text})


def _check_continuation(messages: list[dict[str, Any]], opens: bool) -> None:
    if opens:
        raise HTTPError(422, "continue_final_message requires add_generation_prompt to be false")
    if not messages:
        raise HTTPError(422, "continue_final_message requires at least one message")
    if not messages[-1].get("content"):
        raise HTTPError(
            422, "continue_final_message is set but the final message has no content to continue"
        )
