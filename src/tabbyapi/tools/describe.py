"""From a function to what a model is told about it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import msgspec

from ..errors import ValidationError
from ..structured import annotations as notes
from ..structured.schema import Schema, schemas_of

__all__ = ["Parameter", "Tool", "tool_of"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# JSON schema keywords, and the constraints of msgspec.Meta that check the same.
_CHECKS = {keyword: bound for bound, keyword in notes.BOUNDS.items()} | {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool: what its value is read as, and how it is passed."""

    type: Any
    required: bool
    positional: bool


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        name: what the model calls it by.
        description: what it does and when to use it, for the model.
        schema: JSON schema of its arguments, an object.
        function: the function, sync or async.
        parameters: by name, in the order of the signature.
        more: type of further named arguments (`**kwargs`), None if it takes none.
    """

    name: str
    description: str
    schema: Schema
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    more: Parameter | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The tool as a request carries it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
        }
        return {"type": "function", "function": function}

    @property
    def is_async(self) -> bool:
        """Whether calling it returns an awaitable."""
        function = self.function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__
        )


def is_callable_tool(item: Any) -> bool:
    """True for an item of `tools` that can be called: a function or a `Tool`."""
    return callable(item) or isinstance(item, Tool)


def tool_of(
    function: Callable[..., Any] | Tool,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool:
    """The tool that a function makes, described by its signature and docstring.

    A parameter's type may be anything that `schema_of` takes; without annotation it may hold any
    JSON. Its description is a string or `msgspec.Meta` in `Annotated`, or its entry in the
    docstring (Google, NumPy or reST style). A parameter with a default may be left out.

    Args:
        function: a function, method, partial or callable object; a `Tool` is returned as it is.
        name: default: the function's name.
        description: default: the docstring without its sections, or the name in words.

    Raises:
        ValidationError: the function has no usable name, takes `*args`, or a parameter's type
            has no JSON schema.
    """
    if isinstance(function, Tool):
        return function
    if name is None:
        name = str(getattr(_underlying(function), "__name__", type(function).__name__))
    if not _NAME.fullmatch(name):
        raise ValidationError(
            f"{name!r} is no name for a tool: letters, digits, _ and - only, up to 64. Give one "
            "with tool_of(function, name=...).",
            field="tools",
        )
    told, described = _docstring(function)
    hints = _hints(function, name)
    offered = _offered(function, name)
    schemas = _schemas(name, [hints.get(each.name, Any) for each in offered])
    parameters: dict[str, Parameter] = {}
    properties: dict[str, Schema] = {}
    more: Parameter | None = None
    further: Schema | bool = False
    for each, schema in zip(offered, schemas.of_types, strict=True):
        parameter = Parameter(
            type=_checked(hints.get(each.name, Any)),
            required=each.default is each.empty,
            positional=each.kind is each.POSITIONAL_ONLY,
        )
        if each.kind is each.VAR_KEYWORD:
            more, further = parameter, schema
            continue
        parameters[each.name] = parameter
        text = described.get(each.name)
        properties[each.name] = {
            **({"description": text} if text else {}),
            **schema,
            **_default(each.default),
        }
    return Tool(
        name=name,
        description=description or told or name.replace("_", " "),
        schema={
            "type": "object",
            "properties": properties,
            "required": [each for each, parameter in parameters.items() if parameter.required],
            "additionalProperties": further,
            **({"$defs": schemas.definitions} if schemas.definitions else {}),
        },
        function=function,
        parameters=parameters,
        more=more,
    )


def _underlying(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _offered(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """The parameters the model fills: not those that a partial has fixed."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValidationError(
            f"{function!r} has no signature to describe it by: wrap it in a function of your own",
            field="tools",
        ) from error
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        fixed.update(function.keywords)
        function = function.func
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            raise ValidationError(
                f"the tool {name} takes *{each.name}, which a model cannot fill: give it a list "
                "parameter instead",
                field="tools",
            )
    return [each for each in parameters if each.name not in fixed]


def _hints(function: Any, name: str) -> dict[str, Any]:
    target = _underlying(function)
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return get_type_hints(target, include_extras=True)
    except NameError as error:
        raise ValidationError(
            f"a type in the signature of the tool {name} cannot be found at run time: {error}. "
            "Import it outside `if TYPE_CHECKING`, at the top of its module.",
            field="tools",
        ) from error


def _docstring(function: Any) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each of its parameters."""
    import docstring_parser

    target = _underlying(function)
    text = target.__doc__ if hasattr(target, "__name__") else type(target).__doc__
    parsed = docstring_parser.parse(inspect.cleandoc(text or ""))
    described = {
        param.arg_name.lstrip("*"): param.description.strip()
        for param in parsed.params
        if param.description
    }
    return (parsed.description or "").strip(), described


@dataclass(frozen=True, slots=True)
class _Schemas:
    of_types: list[Schema]
    definitions: dict[str, Schema]


def _schemas(name: str, types: list[Any]) -> _Schemas:
    try:
        return _Schemas(*schemas_of(types, exact=False))
    except ValidationError as error:
        raise ValidationError(f"the tool {name}: {error.message}", field="tools") from error


def _checked(hint: Any) -> Any:
    """The type, with the constraints of its foreign metadata in a form that msgspec checks."""
    found = notes.annotation_notes(hint)
    checks = {_CHECKS[keyword]: bound for keyword, bound in found.items() if keyword in _CHECKS}
    return Annotated[hint, msgspec.Meta(**checks)] if checks else hint


def _default(default: Any) -> Schema:
    if default is inspect.Parameter.empty:
        return {}
    try:
        return {"default": msgspec.to_builtins(default)}
    except TypeError:  # what JSON cannot express says nothing to a model
        return {}
