"""Prompt templates: Jinja2 in a sandbox, with the conventions of Hugging Face's chat templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser

from .sandbox import Sandbox, rendering

__all__ = ["PromptTemplate", "TemplateError"]


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text for training: a no-op."""

    tags = {"generation"}  # noqa: RUF012 - Jinja2's interface

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return Scope(body, lineno=line)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)  # local time is what templates print


class PromptTemplate:
    """A compiled template.

    Raises `TemplateError` when the source, or rendering it, is faulty.
    """

    def __init__(self, source: str, name: str = "from_gguf") -> None:
        self.source, self.name = source, name
        environment = Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self._render: Callable[..., str] = environment.from_string(source).render

    def render(self, variables: Mapping[str, Any]) -> str:
        """The prompt text."""
        try:
            return rendering(self._render, variables)
        except TemplateError:
            raise
        except Exception as error:
            # What a template does with variables it did not expect.
            raise TemplateError(f"{type(error).__name__}: {error}") from error
