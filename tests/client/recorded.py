"""Recorded chat requests as calls of the client, and where the two differ on purpose."""

from __future__ import annotations

from typing import Any

from support.captures import Capture, load
from support.talk import HELLO, Ask
from support.wire import without_nulls
from tabbyapi._protocol.requests.rules import rules_of
from tabbyapi.types import ChatParams

CHAT = [
    capture
    for capture in load().values()
    if (capture.method, capture.path) == ("POST", "/v1/chat/completions")
]

# Requests the real server fails on, or obeys in a way nobody wants: refused before sending. The
# field is what the error names.
REFUSED = {
    "chat_continue_null": "messages[0].content",
    "chat_messages_empty": "messages",
    "chat_part_text_null": "messages[0].content[0].text",
    "chat_part_unknown_type": "messages[0].content[0].type",
    "chat_rf_json_schema_missing": "response_format.json_schema",
    "nomodel_chat_invalid": "messages",
    "val_coercions": "max_tokens",
    "val_content_number": "messages[0].content",
    "val_invalid_noauth": "messages",
    "val_many": "top_p",
    "val_max_tokens_negative": "max_tokens",
    "val_messages_string": "messages",
    "val_min_over_max_temp": "min_temp",
    "val_min_over_max_tokens": "min_tokens",
    "val_role_null": "messages[0].role",
    "val_role_number": "messages[0].role",
    "val_temperature_11": "temperature",
    "vision_bare_base64": "messages[0].content[1].image_url",
    "vision_image_url_missing": "messages[0].content[1].image_url",
    "vision_svg_data_url": "messages[0].content[1].image_url",
}

_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
    "/pLvAAAAAElFTkSuQmCC"
)

# Fields that are sent otherwise than they were given: what would have failed or been ignored is
# put into the form that works.
SENT_OTHERWISE: dict[str, dict[str, Any]] = {
    "chat_continue_agp": {"add_generation_prompt": False},
    "chat_image_novision_http": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Describe: "},
                    {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}},
                ],
            }
        ]
    },
    "chat_image_url_string": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PIXEL}}]}
        ]
    },
    "chat_rf_json_object": {"response_format": {"type": "json"}},
    "chat_rf_json_schema_noname": {
        "response_format": {"type": "json_schema", "json_schema": _SCHEMA}
    },
    "chat_rf_json_schema_openai": {
        "response_format": {"type": "json_schema", "json_schema": _SCHEMA}
    },
    "chat_tool_args_not_json": {
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": "{oops"}, "type": "function"}
                ],
            },
        ]
    },
    "chat_tool_args_object": {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": '{"a":1}'}, "type": "function"}
                ],
            }
        ]
    },
    "chat_top_logprobs_only": {"logprobs": True},
}


def ask_of(capture: Capture) -> Ask | None:
    """The call that sends what was recorded; None if that was no JSON object.

    Fields the client has no name for travel in `extra_body`.
    """
    try:
        fields = capture.request_json
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    fields = dict(fields)
    messages = fields.pop("messages", None)
    stream = fields.pop("stream", False)
    unnamed = {name: fields.pop(name) for name in list(fields) if name not in rules_of(ChatParams)}
    return Ask(messages, {**fields, "extra_body": unnamed} if unnamed else fields, stream)


def sendable(capture: Capture) -> Ask:
    """The recorded call, or another of its kind where the client would refuse that one."""
    ask = None if capture.name in REFUSED else ask_of(capture)
    return ask or Ask(HELLO.messages, stream=b'"stream": true' in capture.request_body)


def body_of(capture: Capture) -> dict[str, Any]:
    """The JSON that the client should send for a recorded request."""
    body = without_nulls(capture.request_json)
    body["stream_options"] = {"include_usage": True, **body.get("stream_options", {})}
    return {**body, **SENT_OTHERWISE.get(capture.name, {})}
