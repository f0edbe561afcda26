"""Python types and functions among the parameters of a request, turned into JSON schemas.

`_protocol` takes JSON only. `structured` and `tools`, which describe types and functions, are
imported when a call needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_origin

__all__ = ["resolve_types"]


def resolve_types(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with types and functions replaced; whatever is neither stays as it is.

    Raises:
        ValidationError: a type or a function that has no schema.
    """
    changes: dict[str, Any] = {}
    if _is_type(params.get("json_schema")):
        changes["json_schema"] = _schema(params["json_schema"])
    form = params.get("response_format")
    if _is_type(form):
        form = {"type": "json_schema", "json_schema": form}
    if isinstance(form, Mapping) and _is_type(form.get("json_schema")):
        changes["response_format"] = {**form, "json_schema": _schema(form["json_schema"])}
    tools = params.get("tools")
    if isinstance(tools, Sequence) and not isinstance(tools, str):
        changes["tools"] = _specs(tools)
    return {**params, **changes} if changes else params


def _is_type(value: Any) -> bool:
    return isinstance(value, type) or get_origin(value) is not None


def _schema(tp: Any) -> dict[str, Any]:
    from ..structured.schema import schema_of

    return schema_of(tp)


def _specs(tools: Sequence[Any]) -> list[Any]:
    if all(isinstance(item, Mapping) and "handler" not in item for item in tools):
        return list(tools)  # descriptions, ready to be sent
    from ..tools.describe import specs_of

    return specs_of(tools)
