"""Describe Python functions to a model: name, description and JSON schema of their arguments."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, get_type_hints

import msgspec

from ..errors import ValidationError
from ..structured.checks import Check, check_of
from ..structured.field_objects import is_field_object, unwrap_field
from ..structured.schema import Schema, schemas_of

__all__ = [
    "Parameter",
    "Tool",
    "ToolSet",
    "expand",
    "is_callable_tool",
    "specs_of",
    "tool_of",
]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
HANDLER = "handler"
"""Key of the function in a tool that is given as a dict."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool.

    Attributes:
        type: what its value is read as.
        required: True if a call must give it.
        positional: True if it can be passed by position only.
        default: makes the value if a call does not give it; None: the function has its own.
        check: checks constraints that reading as `type` does not.
    """

    type: Any
    required: bool
    positional: bool = False
    default: Callable[[], Any] | None = None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    `tool_of(function)` makes one from a signature, `Tool.from_schema` from a JSON schema.

    Attributes:
        name: the name that the model calls.
        description: what the tool does and when to use it, for the model.
        schema: JSON schema of the arguments, an object.
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

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        call: Callable[..., Any],
    ) -> Self:
        """Make a tool from the JSON schema of its arguments.

            Tool.from_schema(
                "get_weather",
                "Weather of a city.",
                {"type": "object", "properties": {"city": {"type": "string"}}},
                lambda city: f"sunny in {city}",
            )

        Args:
            name: letters, digits, `_` and `-`, up to 64.
            description: what it does and when to use it.
            parameters: a JSON schema of type "object".
            call: is called with the arguments by name, as decoded JSON; sync or async. What the
                schema requires is there, and where it is closed, nothing else; values are not
                checked further.

        Raises:
            ValidationError: the name, the schema or `call` cannot be used.
        """
        _check_name(name, 'Tool.from_schema("name", ...)')
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise ValidationError(
                f"the parameters of the tool {name} must be a JSON schema of type object, "
                f"not {parameters!r:.80}",
                field="tools",
            )
        if not callable(call):
            raise ValidationError(f"the tool {name} cannot be called: {call!r:.80}", field="tools")
        schema = {"type": "object", "properties": {}, **parameters}
        required = schema.get("required") or ()
        known = {each: Parameter(Any, each in required) for each in schema["properties"]}
        known |= {each: Parameter(Any, True) for each in required if each not in known}
        more = None if schema.get("additionalProperties") is False else Parameter(Any, False)
        return cls(name, description or name.replace("_", " "), schema, call, known, more)

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
        """True if it is known that a call returns an awaitable. Others may return one too."""
        function = inspect.unwrap(_underlying(self.function))
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__
        )


class ToolSet:
    """Several tools as one item of `tools`, such as those of an MCP server.

    Attributes:
        name: prefix of a tool's name, if another tool has that name too.
        tools: the tools.
    """

    name: str
    tools: list[Tool]

    def __init__(self, name: str, tools: Sequence[Tool]) -> None:
        self.name = name
        self.tools = list(tools)


def is_callable_tool(item: Any) -> bool:
    """True for an item of `tools` that can be called: all but descriptions alone."""
    if isinstance(item, Mapping):
        return HANDLER in item
    return callable(item) or isinstance(item, Tool | ToolSet)


def expand(items: Iterable[Any]) -> list[Any]:
    """The items of `tools` with the tools of each `ToolSet` in its place, under unique names.

    Callable items become `Tool`s; others stay as they are.
    """
    expanded: list[Any] = []
    from_sets: list[tuple[int, str]] = []
    for item in items:
        if isinstance(item, ToolSet):
            places = range(len(expanded), len(expanded) + len(item.tools))
            from_sets += [(place, item.name) for place in places]
            expanded += item.tools
        else:
            expanded.append(tool_of(item) if is_callable_tool(item) else item)
    names = Counter(_name_of(item) for item in expanded)
    taken = {name for name, count in names.items() if count == 1}
    for place, prefix in from_sets:
        tool = expanded[place]
        if names[tool.name] > 1:
            name = _free_name(f"{prefix}_{tool.name}", taken)
            taken.add(name)
            expanded[place] = replace(tool, name=name)
    return expanded


def _name_of(item: Any) -> Any:
    if isinstance(item, Mapping):
        function = item.get("function")
        return function.get("name") if isinstance(function, Mapping) else None
    return getattr(item, "name", None)


def _free_name(name: str, taken: Collection[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    free, count = base, 2
    while free in taken:
        free, count = f"{base[:60]}_{count}", count + 1
    return free


def specs_of(items: Iterable[Any]) -> list[Any]:
    """The items of `tools` as a request carries them; descriptions stay as they are."""
    return [item.spec if isinstance(item, Tool) else item for item in expand(items)]


def tool_of(
    function: Callable[..., Any] | Tool | Mapping[str, Any],
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool:
    """Make a tool of a function, described by its signature and docstring.

    A parameter's type may be anything that `schema_of` takes; without annotation it may hold any
    JSON. Its description is a string or `msgspec.Meta` in `Annotated`, or its entry in the
    docstring (Google, NumPy or reST style). A parameter with a default may be left out; the
    default may be a field object such as `pydantic.Field(3, le=7, description="...")`.

    Args:
        function: a function, bound method, partial or callable object; a `Tool`, returned as it
            is; or `{"type": "function", "function": {name, description, parameters},
            "handler": function}`.
        name: default: the function's name.
        description: default: the docstring without its sections, or the name in words.

    Raises:
        ValidationError: the function has no usable name, takes `*args`, is an unbound method, or
            a parameter's type has no JSON schema.
    """
    if isinstance(function, Tool):
        return function
    if isinstance(function, Mapping):
        return _tool_of_dict(function)
    if name is None:
        name = str(getattr(_underlying(function), "__name__", type(function).__name__))
    _check_name(name, "tool_of(function, name=...)")
    told, described = _docstring(function)
    offered = _offered(function, name)
    hints = _hints(function, name, offered)
    kept = [_parameter(each, hints.get(each.name, Any), name) for each in offered]
    schemas, definitions = _schemas(name, kept)
    parameters: dict[str, Parameter] = {}
    properties: dict[str, Schema] = {}
    more: Parameter | None = None
    further: Schema | bool = False
    for each, parameter, schema in zip(offered, kept, schemas, strict=True):
        if each.kind is each.VAR_KEYWORD:
            more, further = parameter, schema
            continue
        parameters[each.name] = parameter
        text = described.get(each.name)
        properties[each.name] = {
            **({"description": text} if text else {}),
            **schema,
            **_default(each.default, parameter),
        }
    return Tool(
        name=name,
        description=description or told or name.replace("_", " "),
        schema={
            "type": "object",
            "properties": properties,
            "required": [each for each, parameter in parameters.items() if parameter.required],
            "additionalProperties": further,
            **({"$defs": definitions} if definitions else {}),
        },
        function=function,
        parameters=parameters,
        more=more,
    )


def _tool_of_dict(item: Mapping[str, Any]) -> Tool:
    function = item.get("function")
    if not isinstance(function, Mapping) or HANDLER not in item:
        raise ValidationError(
            f"a description alone cannot be called: {item!r:.80}. Add the function that makes the "
            'call: {"type": "function", "function": {...}, "handler": function}',
            field="tools",
        )
    name, text = function.get("name"), function.get("description")
    if not isinstance(name, str) or not isinstance(text, str | None):
        raise ValidationError(f"a tool needs a name: {item!r:.80}", field="tools")
    return Tool.from_schema(name, text or "", function.get("parameters") or {}, item[HANDLER])


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValidationError(
            f"{name!r} is no name for a tool: letters, digits, _ and - only, up to 64. Give one "
            f"with {where}.",
            field="tools",
        )


def _underlying(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _offered(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """The parameters that the model fills: not those that a partial has fixed."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ValidationError(
            f"{function!r} has no signature to describe it by: wrap it in a function",
            field="tools",
        ) from error
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        fixed.update(function.keywords)
        function = function.func
    if _is_unbound(function) and parameters and parameters[0].name in ("self", "cls"):
        raise ValidationError(
            f"the tool {name} is a method without its object: give a bound one, such as "
            f"{function.__qualname__.replace('.', '().')}",
            field="tools",
        )
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            raise ValidationError(
                f"the tool {name} takes *{each.name}, which a model cannot fill: give it a list "
                "parameter instead",
                field="tools",
            )
    return [each for each in parameters if each.name not in fixed]


def _is_unbound(function: Any) -> bool:
    """True for a function that was taken from a class."""
    qualified = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return inspect.isfunction(function) and "." in qualified


def _hints(function: Any, name: str, offered: Sequence[inspect.Parameter]) -> dict[str, Any]:
    target = _underlying(function)
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = type(target).__call__
    target = inspect.unwrap(getattr(target, "__func__", target))
    # Only what the model fills: a return annotation need not exist at run time.
    written = {each.name: each.annotation for each in offered if each.annotation is not each.empty}
    holder = types.SimpleNamespace(__annotations__=written)
    try:
        return get_type_hints(
            holder, globalns=getattr(target, "__globals__", {}), include_extras=True
        )
    except NameError as error:
        raise ValidationError(
            f"a type in the signature of the tool {name} cannot be found at run time: {error}. "
            "Import it outside `if TYPE_CHECKING`, at the top of its module.",
            field="tools",
        ) from error


def _parameter(each: inspect.Parameter, hint: Any, name: str) -> Parameter:
    default: Callable[[], Any] | None = None
    required = each.default is each.empty
    if is_field_object(each.default):
        try:
            default, metadata = unwrap_field(each.default)
        except ValidationError as error:
            raise _about(name, error) from error
        required = default is None
        if metadata:
            hint = Annotated[(hint, *metadata)]
    try:
        check = check_of(hint)
    except ValidationError as error:
        raise _about(name, error) from error
    return Parameter(hint, required, each.kind is each.POSITIONAL_ONLY, default, check)


def _about(name: str, error: ValidationError) -> ValidationError:
    return ValidationError(f"the tool {name}: {error.message}", field="tools")


def _docstring(function: Any) -> tuple[str, dict[str, str]]:
    """The description of a function, and of each of its parameters, from its docstring."""
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


def _schemas(name: str, parameters: Sequence[Parameter]) -> tuple[list[Schema], dict[str, Schema]]:
    try:
        return schemas_of([each.type for each in parameters], exact=False)
    except ValidationError as error:
        raise _about(name, error) from error


def _default(default: Any, parameter: Parameter) -> Schema:
    """The default as a schema shows it; a field object's is made anew for each call."""
    if parameter.default is not None:
        default = parameter.default()
    elif parameter.required or default is inspect.Parameter.empty:
        return {}
    try:
        return {"default": msgspec.to_builtins(default)}
    except TypeError:  # what JSON cannot express says nothing to a model
        return {}
