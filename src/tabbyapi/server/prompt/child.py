"""The process that compiles and renders prompt templates: Jinja2 as Hugging Face sets it up.

A template comes with a model file, so anyone may have written it. Jinja2's sandbox keeps it from
Python's inside; what it could use up, time and memory, is bounded by the process (`workers.child`).
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..workers.child import run

__all__ = ["Job", "render"]

_KEPT = 8  # compiled templates
_LONGEST_REASON = 500  # characters


class Job(msgspec.Struct):
    """A template and its variables; without variables, it is only compiled."""

    source: str
    variables: dict[str, Any] | None = None


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


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja2's own filter escapes for HTML, which prompts must not be.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@lru_cache(_KEPT)
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment.from_string(source)


def render(job: Job) -> dict[str, str]:
    """Compile, unless that is done, and render: the `text`, or the `error` that prevented it."""
    try:
        template = _compiled(job.source)
        return {"text": "" if job.variables is None else template.render(job.variables)}
    except MemoryError:
        raise  # ends the process
    except TemplateSyntaxError as error:
        reason = f"line {error.lineno}: {error}"
    except TemplateError as error:
        reason = str(error)
    except SyntaxError as error:  # of the Python code that Jinja2 made of it
        reason = str(error.msg)
    except Exception as error:  # what a template does with variables it did not expect
        reason = f"{type(error).__name__}: {error}"
    return {"error": reason[:_LONGEST_REASON].strip() or "it cannot be rendered"}


def main() -> None:
    """Render until stdin closes."""
    decode, encode = msgspec.json.Decoder(Job).decode, msgspec.json.Encoder().encode

    def work(job: bytes) -> bytes:
        try:
            return encode(render(decode(job)))
        except UnicodeEncodeError:  # of the reason, too: a template can make any string
            return encode({"error": "the text holds half a character (a lone surrogate)"})

    run(work)


if __name__ == "__main__":
    main()
