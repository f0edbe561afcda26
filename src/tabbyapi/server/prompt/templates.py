"""Prompt templates: Jinja2 in a sandbox, with the conventions of Hugging Face's chat templates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser

from ..model_files.files import ModelFile
from ..model_files.folders import TEMPLATE_SUFFIXES, find
from ..settings import Settings
from .sandbox import Sandbox, rendering

__all__ = ["PromptTemplate", "TemplateError", "TemplateLoader"]

log = logging.getLogger("tabbyapi.server")


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


class TemplateLoader:
    """Makes the prompt template of a model, and those of the templates folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def named(self, name: str) -> PromptTemplate:
        """A template of the templates folder.

        Raises:
            TemplateError: there is none of this name, or it cannot be used.
        """
        path = find(self._settings.templates_dir, name, *TEMPLATE_SUFFIXES)
        if path is None:
            raise TemplateError(f"there is no prompt template {name!r}")
        try:
            return PromptTemplate(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"{name} cannot be read: {error}") from None

    def of_model(self, file: ModelFile, name: str | None = None) -> PromptTemplate | None:
        """The named template, else that of the settings, else that of the model file.

        Returns:
            None if there is none, or if it is the model's and cannot be used.

        Raises:
            TemplateError: the named template cannot be used.
        """
        if name is not None:
            return self.named(name)
        given = self._settings.chat_template
        source = given or file.chat_template
        if not source:
            return None
        try:
            return PromptTemplate(source, "from_settings" if given else "from_gguf")
        except TemplateError as error:
            log.error("the prompt template cannot be used: %s", error)  # noqa: TRY400
            return None
