"""From parameters to the body of a generation request (chat and text completions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ValidationError
from ...types.messages import ChatMessage
from ...types.params import ChatParams, GenerationParams
from ...types.requests import ChatCompletionRequest
from ...types.rules import refuse
from .messages import wire_messages
from .rules import checked_fields, rules_of, with_extra_body

__all__ = ["chat_body", "check_together", "generation_fields", "split_request"]


def split_request(
    messages: ChatCompletionRequest | Sequence[Any], params: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Messages and parameters of a request that may have been prepared as one value."""
    if not isinstance(messages, ChatCompletionRequest):
        return messages, params
    prepared = {name: getattr(messages, name) for name in rules_of(ChatParams)}
    given = {name: value for name, value in params.items() if value is not None}
    return messages.messages, {**prepared, **given}


def chat_body(
    messages: Sequence[Any], params: Mapping[str, Any], *, stream: bool
) -> dict[str, Any]:
    """The JSON fields of `POST /v1/chat/completions`. Schemas and tools are dicts here.

    Raises:
        ValidationError: a field the server would refuse, ignore in silence, or fail on.
    """
    body: dict[str, Any] = {"messages": wire_messages(messages)}
    fields = checked_fields(params, rules_of(ChatParams))
    if "tools" in fields:
        fields["tools"] = _tools(fields["tools"])
    if "tool_choice" in fields:
        _check_tool_choice(fields["tool_choice"], fields.get("tools"))
    if fields.get("continue_final_message"):
        _check_continuation(fields, messages)
    return _finished(body, fields, params, stream)


def generation_fields(
    body: dict[str, Any], params: Mapping[str, Any], *, stream: bool
) -> dict[str, Any]:
    """The JSON fields of `POST /v1/completions`: `body` (the prompt) and the common parameters.

    Raises:
        ValidationError: as `chat_body`.
    """
    return _finished(body, checked_fields(params, rules_of(GenerationParams)), params, stream)


def _finished(
    body: dict[str, Any], fields: dict[str, Any], params: Mapping[str, Any], stream: bool
) -> dict[str, Any]:
    check_together(fields)
    _check_constraints(fields)
    body.update(fields)
    if stream:
        body["stream"] = True
    # Without this the server sends no usage, streamed or not.
    body["stream_options"] = {"include_usage": True, **fields.get("stream_options", {})}
    return with_extra_body(body, params)


def check_together(fields: dict[str, Any]) -> None:
    """Check sampling fields that depend on one another, and complete `logprobs`."""
    least, most = fields.get("min_tokens"), fields.get("max_tokens")
    if least is not None and most and least > most:
        raise ValidationError(
            f"min_tokens ({least}) must not be above max_tokens ({most})", field="min_tokens"
        )
    # The server's defaults are 1.0 for both.
    low, high = fields.get("min_temp", 1.0), fields.get("max_temp", 1.0)
    if ("min_temp" in fields or "max_temp" in fields) and low > high:
        raise ValidationError(
            f"min_temp ({low:g}) must not be above max_temp ({high:g}); both default to 1",
            field="min_temp",
        )
    if fields.get("top_logprobs") and "logprobs" not in fields:
        fields["logprobs"] = True  # alone it would have no effect


def _check_constraints(fields: dict[str, Any]) -> None:
    """Check that each constraint reaches the engine: the server drops an empty one in silence.

    A schema, a pattern and a grammar are all applied when they are given together.
    """
    if "json_schema" in fields:
        fields["json_schema"] = _schema(fields["json_schema"], "json_schema")
    form = fields.get("response_format")
    if form is None:
        return
    fields["response_format"] = form = _response_format(form)
    if "json_schema" in fields and form["type"] != "text":
        raise ValidationError(
            "json_schema and response_format are given together; the server would drop json_schema",
            field="response_format",
        )


def _response_format(form: Any) -> dict[str, Any]:
    if not isinstance(form, Mapping):
        raise refuse("response_format", form, "a JSON schema as a dict, or a Python type")
    kind = form.get("type")
    if kind == "json_object":  # TabbyAPI accepts the OpenAI spelling and ignores it
        return {**form, "type": "json"}
    if kind == "json_schema":
        schema = form.get("json_schema")
        if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping):
            # The OpenAI wrapper is unwrapped by the server only if it has a name too.
            schema = schema["schema"]
        if schema is None:
            raise ValidationError(
                "response_format of type json_schema holds no json_schema",
                field="response_format.json_schema",
            )
        return {**form, "json_schema": _schema(schema, "response_format.json_schema")}
    if kind not in ("text", "json"):
        raise refuse("response_format.type", kind, '"text", "json" or "json_schema"')
    return dict(form)


def _schema(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise refuse(field, value, "a JSON schema as a dict, or a Python type")
    if not value:
        raise ValidationError(
            f"{field} is empty, and the server takes an empty schema for none: leave it out, or "
            'give response_format={"type": "json"} for any JSON object',
            field=field,
        )
    return dict(value)


def _tools(tools: Any) -> list[Any]:
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise refuse("tools", tools, "a list of tools")
    return [_tool(item, f"tools[{i}]") for i, item in enumerate(tools)]


def _tool(item: Any, field: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise refuse(field, item, "a function or a dict")
    function = item.get("function")
    if item.get("type", "function") != "function" or not isinstance(function, Mapping):
        raise ValidationError(
            f'{field} must be {{"type": "function", "function": {{...}}}}', field=field
        )
    for name, kind in (("name", str), ("description", str), ("parameters", Mapping)):
        if not isinstance(function.get(name), kind) or (name == "name" and not function[name]):
            raise ValidationError(
                f"{field}.function needs a {name}: the server refuses tools without name, "
                "description and parameters",
                field=f"{field}.function.{name}",
            )
    return {**item, "type": "function"}


def _check_tool_choice(choice: Any, tools: list[Any] | None) -> None:
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise refuse(
                "tool_choice",
                choice,
                '"none", "auto", "required", or {"type": "function", "function": {"name": ...}}',
            )
        if choice == "required" and not tools:
            raise ValidationError("tool_choice is required, but there are no tools", field="tools")
        return
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise refuse("tool_choice", choice, '{"type": "function", "function": {"name": ...}}')
    known = [tool["function"]["name"] for tool in tools or []]
    if name not in known:
        raise refuse("tool_choice", name, f"the name of one of the tools ({', '.join(known)})")


def _check_continuation(fields: dict[str, Any], messages: Sequence[Any]) -> None:
    if fields.setdefault("add_generation_prompt", False):
        raise ValidationError(
            "continue_final_message continues the last message, so add_generation_prompt cannot "
            "be True",
            field="add_generation_prompt",
        )
    last = messages[-1]
    content = last.content if isinstance(last, ChatMessage) else None
    if isinstance(last, Mapping):
        content = last.get("content")
    if isinstance(last, ChatMessage | Mapping) and content is None:
        raise ValidationError(
            "continue_final_message needs text in the last message to go on from",
            field=f"messages[{len(messages) - 1}].content",
        )
