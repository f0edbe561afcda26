"""Conversations as text, by the very template that goes into the model file."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .lexicon import DATA


def template_source() -> str:
    """The chat template, as it is written into the GGUF."""
    return (DATA / "chat_template.jinja").read_text(encoding="utf-8").rstrip("\n")


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    # As Hugging Face defines it; Jinja's own filter escapes for HTML and sorts keys.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


@cache
def _template() -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    return environment.from_string(template_source())


def render(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The prompt text for the messages."""
    return _template().render(
        messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt
    )
