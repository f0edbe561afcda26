"""Check JSON against a schema."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

__all__ = ["problem_of", "problem_of_schema"]


def _no_download(uri: str) -> Any:
    raise ValueError(f"the schema refers to {uri}, which is not fetched")


def problem_of(value: Any, schema: dict[str, Any]) -> str:
    """What is wrong with a value, in a sentence; "" if it is valid."""
    try:
        checker = jsonschema_rs.validator_for(schema, retriever=_no_download)
        error = next(checker.iter_errors(value), None)
    except (ValueError, jsonschema_rs.ReferencingError) as failure:
        return f"The schema cannot be used: {str(failure).splitlines()[0]}"
    if error is None:
        return ""
    where = "".join(f"[{step!r}]" for step in error.instance_path)
    return f"Not valid for the JSON schema: {where + ': ' if where else ''}{error.message}"


def problem_of_schema(schema: Any) -> str:
    """Why this is no JSON schema; "" if it is one."""
    if not isinstance(schema, dict):
        return 'A JSON schema is an object, such as {"type": "object"}.'
    try:
        jsonschema_rs.validator_for(schema, retriever=_no_download)
    except (ValueError, jsonschema_rs.ReferencingError) as failure:
        return f"The schema cannot be used: {str(failure).splitlines()[0]}"
    return ""
