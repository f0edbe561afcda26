"""Read a line of a batch as a call: a prompt, messages, or a request in OpenAI's batch form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .._protocol.call import Call
from .._protocol.requests.rules import rules_of
from .._services.chat import chat_call
from .._services.completions import completion_call
from .._services.embeddings import embedding_call
from ..errors import ValidationError
from ..types.params import ChatParams

__all__ = ["Answer", "Defaults", "call_of", "read_line"]

_FORMS = (
    'a line is a prompt ("..." or {"prompt": ...}), messages ([...] or {"messages": [...]}), or a '
    'request {"custom_id": ..., "url": "/v1/chat/completions", "body": {...}}'
)
# Fields of OpenAI's requests that the client sets itself, or that have another name here.
_NOT_PASSED_ON = ("stream", "stream_options")
_RENAMED = {"max_completion_tokens": "max_tokens"}


@dataclass(frozen=True)
class Defaults:
    """Defaults for lines that do not say otherwise.

    Attributes:
        system: system message for lines that have none.
        params: parameters as for `client.chat.create`, e.g. `{"max_tokens": 100}`.
    """

    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server.

    Attributes:
        body: the JSON, byte for byte.
        text: text of the first choice, None for embeddings.
        tokens: how many tokens were generated.
        cut_short: True if the server broke off, most likely because its model was unloaded.
            TabbyAPI answers 200 then.
    """

    body: bytes
    text: str | None
    tokens: int
    cut_short: bool


def read_line(line: bytes) -> tuple[str | None, Any]:
    """Decode a line: its `custom_id`, None if it has none, and the rest of it.

    Raises:
        ValidationError: it is no JSON, or `custom_id` is no string.
    """
    try:
        content = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationError(f"not JSON: {error}; {_FORMS}") from None
    custom_id = content.pop("custom_id", None) if isinstance(content, dict) else None
    if custom_id is not None and not isinstance(custom_id, str):
        raise ValidationError(
            f"custom_id must be a string, not {custom_id!r:.40}", field="custom_id"
        )
    return custom_id, content


def call_of(content: Any, defaults: Defaults) -> Call[Answer]:
    """Make the call of a line; `content` is the rest that `read_line` returns.

    Raises:
        ValidationError: it is none of the forms, or the request would be refused.
    """
    if isinstance(content, str):
        return _chat([{"role": "user", "content": content}], {}, defaults)
    if isinstance(content, list):
        return _chat(content, {}, defaults)
    if not isinstance(content, dict):
        raise ValidationError(_FORMS)
    if "body" in content:
        return _openai(content, defaults)
    if ("prompt" in content) == ("messages" in content):
        raise ValidationError(_FORMS)
    if "messages" in content:
        return _chat(content.pop("messages"), content, defaults)
    own = content.pop("system", defaults.system)
    prompt = content.pop("prompt")
    if not isinstance(prompt, str):
        raise ValidationError(f"prompt must be text, not {prompt!r:.40}", field="prompt")
    turn = {"role": "user", "content": prompt}
    return _chat([turn], content, Defaults(own, defaults.params))


def _chat(messages: Any, params: Mapping[str, Any], defaults: Defaults) -> Call[Answer]:
    if not isinstance(messages, list):
        raise ValidationError(f"messages must be a list, not {messages!r:.40}", field="messages")
    if defaults.system and not _begins_with_system(messages):
        messages = [{"role": "system", "content": defaults.system}, *messages]
    call = chat_call(messages, {**defaults.params, **params})
    return _answering(call, _generated(call.decode))


def _begins_with_system(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], dict) and messages[0].get("role") == "system"


def _openai(content: dict[str, Any], defaults: Defaults) -> Call[Answer]:
    body, url = content.pop("body"), content.pop("url", None)
    method = content.pop("method", "POST")
    if not isinstance(body, dict) or method != "POST":
        raise ValidationError('a request has "method": "POST" and an object as its "body"')
    if content:
        raise ValidationError(f"a request has no {next(iter(content))!r}; {_FORMS}")
    given: dict[str, Any] = body
    fields = {_RENAMED.get(k, k): v for k, v in given.items() if k not in _NOT_PASSED_ON}
    if url == "/v1/embeddings":
        embedding = embedding_call(fields.pop("input", None), fields)
        return _answering(embedding, _vectors(embedding.decode))
    known = rules_of(ChatParams)
    params = {name: value for name, value in fields.items() if name in known}
    params["extra_body"] = {
        name: value
        for name, value in fields.items()
        if name not in known and name not in ("messages", "prompt") and value is not None
    }
    if url == "/v1/chat/completions":
        return _chat(fields.get("messages"), params, defaults)
    if url == "/v1/completions":
        call = completion_call(fields.get("prompt", ""), {**defaults.params, **params})
        return _answering(call, _generated(call.decode))
    raise ValidationError(
        'url must be "/v1/chat/completions", "/v1/completions" or "/v1/embeddings", '
        f"not {url!r:.60}",
        field="url",
    )


def _answering(call: Call[Any], decode: Callable[[bytes], Answer]) -> Call[Answer]:
    return msgspec.structs.replace(call, decode=decode)


def _generated(decode: Callable[[bytes], Any]) -> Callable[[bytes], Answer]:
    def read(body: bytes) -> Answer:
        response = decode(body)
        # Usage is asked for, and comes with every answer that was generated to its end.
        unfinished = any(choice.eos_reason is None for choice in response.choices)
        return Answer(
            body,
            response.text,
            response.usage.completion_tokens,
            cut_short=not response.usage and unfinished,
        )

    return read


def _vectors(decode: Callable[[bytes], Any]) -> Callable[[bytes], Answer]:
    def read(body: bytes) -> Answer:
        decode(body)  # an answer of another shape is no answer
        return Answer(body, None, 0, cut_short=False)

    return read
