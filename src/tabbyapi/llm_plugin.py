"""Models of a TabbyAPI server in Simon Willison's `llm` command. Imported by `llm` only.

Registers `tabby`, the model that the server has loaded, and `tabby/NAME` for each model that the
server lists (servers load those on request if inline loading is on); `tabby-embedding` likewise.
The server is the one that `TABBY_API_ENDPOINT` and `TABBY_API_KEY` name, as for `Client`. A server
that does not answer is no error here: its models are not listed, and a prompt says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import llm
from llm.models import EmbeddingModel
from llm.parts import AttachmentPart, StreamEvent, TextPart, ToolCallPart, ToolResultPart
from pydantic import create_model

from . import AsyncClient, Client, TabbyError, image
from .types.params import ChatParams

if TYPE_CHECKING:
    from . import ChatCompletionResponse, ChatCompletionStreamResponse

__all__ = ["register_embedding_models", "register_models"]

_LISTING_SECONDS = 2.0
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"})
_SCALARS = (bool, int, float, str)
_NOT_OPTIONS = {"model", "n", "user", "best_of", "echo", "suffix", "prompt_template"}


@llm.hookimpl
def register_models(register: Any) -> None:
    register(Tabby("tabby", None), AsyncTabby("tabby", None))
    for name in _listed():
        register(Tabby(f"tabby/{name}", name), AsyncTabby(f"tabby/{name}", name))


@llm.hookimpl
def register_embedding_models(register: Any) -> None:
    register(TabbyEmbedding())


def _listed() -> list[str]:
    try:
        with Client(timeout=_LISTING_SECONDS, retry=0) as client:
            return [card.id for card in client.models.list()]
    except TabbyError:
        return []


# ------------------------------------------------------------------------------ options


def _scalar(annotation: Any) -> type | None:
    """The plain type of a parameter such as `Annotated[int | None, ...]`, None for others."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = [kind for kind in kinds if kind in _SCALARS]
    return plain[0] if len(plain) == 1 else None


def _options() -> Any:
    """The parameters of a chat that a command line can give: numbers, flags and texts."""
    hints = get_type_hints(ChatParams, include_extras=True)
    kinds = {name: _scalar(hint) for name, hint in hints.items() if name not in _NOT_OPTIONS}
    fields: dict[str, Any] = {
        name: (kind | None, None) for name, kind in kinds.items() if kind is not None
    }
    return create_model("Options", __base__=llm.Options, **fields)


class _Shared:
    """What both models know: how a prompt becomes a request, and chunks become events."""

    can_stream = True
    supports_schema = True
    supports_tools = True
    attachment_types: set[str] | frozenset[str] = _IMAGES
    needs_key: str | None = None
    Options = _options()

    def __init__(self, model_id: str, name: str | None) -> None:
        self.model_id = model_id
        self._name = name

    def _request(self, prompt: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        params = {name: value for name, value in prompt.options if value is not None}
        if self._name is not None:
            params["model"] = self._name
        if prompt.schema:
            params["json_schema"] = prompt.schema
        if prompt.tools:
            params["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description or tool.name,
                        "parameters": tool.input_schema or {"type": "object", "properties": {}},
                    },
                }
                for tool in prompt.tools
            ]
        return [wire for message in prompt.messages for wire in _messages(message)], params

    @staticmethod
    def _finish(response: Any, reply: ChatCompletionResponse) -> None:
        for call in reply.message.tool_calls or ():
            response.add_tool_call(
                llm.ToolCall(
                    name=call.function.name,
                    arguments=_arguments(call.function.arguments),
                    tool_call_id=call.id,
                )
            )
        usage = reply.usage
        if usage is not None:
            response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens)
        response.response_json = {
            "id": reply.id,
            "model": reply.model,
            "finish_reason": reply.choices[0].finish_reason,
        }


class Tabby(_Shared, llm.Model):
    """A model of a TabbyAPI server."""

    def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any
    ) -> Iterator[StreamEvent]:
        messages, params = self._request(prompt)
        with Client() as client:
            if not stream:
                reply = client.chat.create(messages, **params)
                yield from _whole(reply)
                self._finish(response, reply)
                return
            with client.chat.create_stream(messages, **params) as chunks:
                for chunk in chunks:
                    yield from _events(chunk)
                self._finish(response, chunks.response)


class AsyncTabby(_Shared, llm.AsyncModel):
    """A model of a TabbyAPI server, for asyncio."""

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        messages, params = self._request(prompt)
        async with AsyncClient() as client:
            if not stream:
                reply = await client.chat.create(messages, **params)
                for event in _whole(reply):
                    yield event
                self._finish(response, reply)
                return
            async with client.chat.create_stream(messages, **params) as chunks:
                async for chunk in chunks:
                    for event in _events(chunk):
                        yield event
                self._finish(response, chunks.response)


class TabbyEmbedding(EmbeddingModel):
    """The embedding model of a TabbyAPI server: `POST /v1/embeddings`."""

    model_id = "tabby-embedding"
    batch_size: int = 64

    def embed_batch(
        self, items: Iterable[str | bytes], *, key: str | None = None
    ) -> Iterator[list[float]]:
        with Client(api_key=key) as client:
            yield from client.embeddings.create([str(item) for item in items]).vectors


# ----------------------------------------------------------------------------- messages


def _messages(message: Any) -> Iterator[dict[str, Any]]:
    """One message of `llm` as messages of the protocol: each tool result is one there."""
    content: list[Any] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, AttachmentPart) and part.attachment is not None:
            attachment: Any = part.attachment
            content.append(image(attachment.url or attachment.content_bytes()))
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": json.dumps(part.arguments)}
            calls.append({"id": part.tool_call_id, "type": "function", "function": function})
        elif isinstance(part, ToolResultPart):
            result = part.exception or part.output
            yield {"role": "tool", "content": result, "tool_call_id": part.tool_call_id}
    if not content and not calls:
        return
    only_text = all(isinstance(part, dict) for part in content)
    wire: dict[str, Any] = {
        "role": message.role,
        "content": "".join(part["text"] for part in content) if only_text else content,
    }
    if calls:
        wire["tool_calls"] = calls
    yield wire


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return arguments if isinstance(arguments, Mapping) else {"arguments": arguments}  # type: ignore[return-value]


def _whole(reply: ChatCompletionResponse) -> Iterator[StreamEvent]:
    if reply.reasoning:
        yield StreamEvent(type="reasoning", chunk=reply.reasoning)
    if reply.text:
        yield StreamEvent(type="text", chunk=reply.text)
    yield from _calls(reply.message.tool_calls)


def _events(chunk: ChatCompletionStreamResponse) -> Iterator[StreamEvent]:
    if chunk.reasoning:
        yield StreamEvent(type="reasoning", chunk=chunk.reasoning)
    if chunk.text:
        yield StreamEvent(type="text", chunk=chunk.text)
    for choice in chunk.choices:
        yield from _calls(choice.delta.tool_calls)


def _calls(calls: Any) -> Iterator[StreamEvent]:
    for call in calls or ():
        yield StreamEvent(
            type="tool_call_name", chunk=call.function.name or "", tool_call_id=call.id
        )
        yield StreamEvent(
            type="tool_call_args", chunk=call.function.arguments or "", tool_call_id=call.id
        )
