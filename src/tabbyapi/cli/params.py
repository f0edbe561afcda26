"""Options that say how an answer is generated, shared by the commands that ask for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from .connect import complete_models
from .inputs import text_of, well_formed
from .settings import SETTINGS, find

__all__ = [
    "generation_options",
    "parameter_names",
    "parameter_option",
    "parse_parameter",
    "text_or_file",
]

F = TypeVar("F", bound=Callable[..., Any])


def parameter_names(of: str = "ChatParams") -> list[str]:
    """Every parameter of a chat request, or of what another `TypedDict` describes."""
    from ..types import params

    return sorted(getattr(params, of).__annotations__.keys() - params.NOT_SENT)


def parse_parameter(text: str, of: str = "ChatParams") -> tuple[str, Any]:
    """`NAME=VALUE` as name and value: JSON where it is JSON, otherwise text.

    Raises:
        ValueError: no such parameter, or no `=`.
    """
    name, sign, value = text.partition("=")
    name = name.strip().replace("-", "_")
    names = parameter_names(of)
    if name not in names:
        close = get_close_matches(name, names, n=3)
        raise ValueError(
            f"there is no parameter {name!r}" + (f"; meant {', '.join(close)}?" if close else "")
        )
    if not sign:
        raise ValueError(f"{name} needs a value: {name}=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value.strip()


class _Parameter(click.ParamType):  # type: ignore[type-arg]
    name = "NAME=VALUE"

    def __init__(self, of: str = "ChatParams") -> None:
        self._of = of

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        try:
            return value if isinstance(value, tuple) else parse_parameter(value, self._of)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parameter_option(of: str, example: str) -> Callable[[F], F]:
    """Adds `--param`, for what has no option of its own; the command gets pairs as `more`.

    Args:
        of: the `TypedDict` that describes the parameters.
        example: of one, for the help.
    """
    return click.option(
        "--param",
        "more",
        multiple=True,
        type=_Parameter(of),
        help=f"Any other parameter of the protocol, e.g. {example}. Repeatable.",
    )


def text_or_file(value: str | None) -> str | None:
    """The text of an option, or of the file that `@PATH` names.

    Raises:
        OSError, ValidationError: the file cannot be read as text.
    """
    if value is None:
        return None
    if not value.startswith("@"):
        return well_formed(value)
    return text_of(Path(value[1:]).expanduser())


def _given_or_set(name: str, value: Any) -> Any:
    """An option, or what the environment or the config file says in its place."""
    if value is not None or name not in SETTINGS:
        return value
    found = find(name)
    return None if found is None else found.value


_OPTIONS = (
    click.option(
        "--model",
        "-m",
        metavar="NAME",
        shell_complete=complete_models,
        help="Model to answer, where the server has several.",
    ),
    click.option("--max-tokens", type=int, metavar="N", help="Longest answer, in tokens."),
    click.option("--temperature", type=float, metavar="T", help="0 (always the likeliest) to 10."),
    click.option("--top-p", type=float, metavar="P", help="Nucleus sampling, 0 to 1."),
    click.option("--top-k", type=int, metavar="K", help="Sample from the K likeliest tokens."),
    click.option("--min-p", type=float, metavar="P", help="Drop tokens below this share."),
    click.option("--repetition-penalty", type=float, metavar="X", help="Above 1 discourages."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End the answer here. Repeatable."),
    parameter_option("ChatParams", "dry_multiplier=0.8"),
)
_SINGLE = (
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
)


def generation_options(function: F) -> F:
    """Adds `--system` and the sampling options; the command gets `system` and `params`."""

    @click.option("--system", metavar="TEXT", help="Instructions for the model; @FILE reads.")
    @wraps(function)
    def command(
        *args: Any, system: str | None, stop: tuple[str, ...], more: Any, **kwargs: Any
    ) -> Any:
        params = {name: _given_or_set(name, kwargs.pop(name)) for name in _SINGLE}
        params = {name: value for name, value in params.items() if value is not None}
        if stop:
            params["stop"] = list(stop)
        params.update(more)
        system = text_or_file(_given_or_set("system", system))
        return function(*args, system=system, params=params, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]
