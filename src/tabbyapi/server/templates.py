"""Prompt templates: Jinja2 in a sandbox, with the conventions of Hugging Face's chat templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["PromptTemplate", "TemplateError"]

_LARGEST_POWER = 1000
_NUMBER = re.compile(r"\d+")
_WIDTH_GIVEN = re.compile(r"%[-+ #0-9.]*\*")


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text for training: a no-op."""

    tags = {"generation"}  # noqa: RUF012 - Jinja2's interface

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return Scope(body, lineno=line)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    # Jinja2's own filter escapes for HTML, which prompts must not be.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)  # local time is what templates print


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, in which no single operation makes something enormous either."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply, raise or format, within bounds."""
        if operator == "%" and isinstance(left, str):
            _bound(max((int(width) for width in _NUMBER.findall(left)), default=0))
            if _WIDTH_GIVEN.search(left):
                raise TemplateError("a width may not be an argument in a prompt template")
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(count, int) and isinstance(text, (str, list, tuple)):
                    _bound(len(text) * count)
        if operator == "**":
            _bound(abs(right) if isinstance(right, (int, float)) else 0, _LARGEST_POWER)
        return super().call_binop(context, operator, left, right)


def _bound(size: float, most: int = 1_000_000) -> None:
    if size > most:
        raise TemplateError(f"an operation of the prompt template is too large ({size:,.0f})")


class PromptTemplate:
    """A compiled template.

    Raises `TemplateError` when the source, or rendering it, is faulty.
    """

    def __init__(self, source: str, name: str = "from_gguf") -> None:
        self.source, self.name = source, name
        environment = _Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self._render: Callable[..., str] = environment.from_string(source).render

    def render(self, variables: Mapping[str, Any]) -> str:
        """The prompt text."""
        try:
            return self._render(dict(variables))
        except TemplateError:
            raise
        except Exception as error:
            # What a template does with variables it did not expect.
            raise TemplateError(f"{type(error).__name__}: {error}") from error
