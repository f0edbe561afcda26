"""Jinja2's sandbox, in which a template cannot make something enormous either.

A template comes with a model file, so it is anyone's. Jinja2 keeps it from Python's inside, but
not from `"x".ljust(10**12)`, nor from a string doubled sixty times. What an operation would make is
weighed before it is made, and so is all that one rendering makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["Sandbox", "rendering"]

_LARGEST = 16_000_000  # characters or elements that one operation may make
_LARGEST_WIDTH = 1_000_000
_LARGEST_POWER = 1000
_LARGEST_TOTAL = 256_000_000  # what one rendering may make, short-lived or not
_STEP = 32  # what an element of a list and a turn of a loop count as
_CALL = 512
_LARGEST_NUMBER = 10_000  # digits

_NUMBER = re.compile(r"\d+")
_WIDTH_GIVEN = re.compile(r"%[-+ #0-9.]*\*|\{[^{}]*\{")
_WEIGHED_FILTERS = (
    *("batch", "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower"),
    *("pprint", "safe", "slice", "striptags", "sum", "title", "trim", "truncate", "upper"),
    *("urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"),
)

_made: ContextVar[list[int] | None] = ContextVar("made", default=None)


def rendering(render: Callable[..., str], variables: Mapping[str, Any]) -> str:
    """Render with a budget. Raises `TemplateError` where it is overdrawn."""
    token = _made.set([0])
    try:
        return render(dict(variables))
    finally:
        _made.reset(token)


def _bound(size: float, most: int = _LARGEST) -> None:
    """Let something of this size be made, if it may."""
    if size > most:
        raise TemplateError(f"an operation of the prompt template is too large ({size:,.0f})")
    made = _made.get()
    if made is not None:
        made[0] += int(size)
        if made[0] > _LARGEST_TOTAL:
            raise TemplateError("the prompt template makes too much in one rendering")


def _weight(value: Any) -> int:
    """About how long a value is as text. One that holds others many times is not walked for ever.

    Raises `TemplateError` when that is too long.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    weight, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (str, bytes)):
            weight += len(item) + 4
        elif isinstance(item, Mapping):
            weight += 4
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            weight += 4
            waiting.extend(item)
        elif isinstance(item, int):
            weight += item.bit_length() // 3 + 2
        else:
            weight += 16
        if weight + len(waiting) > _LARGEST:
            raise TemplateError("a value of the prompt template is too large to be written out")
    return weight


def _check_format(text: str) -> None:
    """Refuse a pattern for formatting that asks for more than a line of text."""
    _bound(max((int(width) for width in _NUMBER.findall(text) if len(width) < 20), default=0))
    if any(int(width[:20]) > _LARGEST_WIDTH for width in _NUMBER.findall(text)):
        raise TemplateError("a width in the prompt template is too large")
    if _WIDTH_GIVEN.search(text):
        raise TemplateError("a width may not be an argument in a prompt template")


def _check_numbers(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, (int, float)):
            _bound(abs(value), _LARGEST_WIDTH)


def _check_method(text: str | bytes, name: str, args: tuple[Any, ...], named: Any) -> None:
    """Weigh what a method of a string would make."""
    given = (*args, *named.values())
    _check_numbers(given)
    if name == "replace" and len(args) >= 2 and all(isinstance(a, type(text)) for a in args[:2]):
        old, new = args[:2]
        _bound(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    elif name == "join" and args:
        _check_join(args[0], len(text))
    elif name == "translate" and args:
        table = args[0]
        longest = (
            max((_weight(value) for value in table.values()), default=1)
            if isinstance(table, Mapping)
            else 1
        )
        _bound(len(text) * max(1, longest))
    elif name == "expandtabs":
        _bound(len(text) * max((v for v in given if isinstance(v, int)), default=8))
    else:
        _bound(len(text))


def _check_join(parts: Any, separator: int) -> None:
    if isinstance(parts, (str, bytes)):
        _bound(len(parts) * (separator + 1))
    elif isinstance(parts, (list, tuple, set, frozenset, Mapping)):
        _bound(sum(_weight(part) for part in parts) + len(parts) * separator)


def _bounded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja2 that weighs before it works."""
    takes_environment = hasattr(original, "jinja_pass_arg")

    def filtered(*args: Any, **named: Any) -> Any:
        value, *rest = args[1:] if takes_environment else args
        given = (*rest, *named.values())
        _check_numbers(given)
        if name == "format":
            text = str(value)
            _check_format(text)
            _bound(len(text) + text.count("%") * sum(_weight(part) for part in given))
        elif name == "indent":
            width = next((v for v in given if isinstance(v, (int, str))), 4)
            step = width if isinstance(width, int) else len(width)
            text = str(value)
            _bound(len(text) + (text.count("\n") + 1) * step)
        elif name == "sum" and isinstance(value, (list, tuple)):
            _bound(_STEP * sum(len(part) for part in value if isinstance(part, (list, tuple))))
        else:
            _bound(_weight(value))
        return original(*args, **named)

    if takes_environment:
        filtered.jinja_pass_arg = original.jinja_pass_arg  # type: ignore[attr-defined]
    return filtered


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    _check_method(text, "replace", (old, new), {})
    return str(text.replace(old, new, -1 if count is None else count))


def _string(value: Any) -> str:
    _bound(_weight(value))
    return str(value)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    # Jinja2's own filter escapes for HTML, which prompts must not be.
    _check_numbers((indent,))
    _bound(_weight(value) * (1 + (indent or 0)))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


class _Code(CodeGenerator):
    """Code in which `~` and loops ask the sandbox."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        count = nodes.EnvironmentAttribute("counted")
        node.iter = nodes.Call(count, [node.iter], [], None, None)
        super().visit_For(node, frame)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of prompt templates."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Code

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_finalized, **options)
        self.globals.pop("lipsum")
        for name in _WEIGHED_FILTERS:
            self.filters[name] = _bounded(name, self.filters[name])
        join = self.filters["join"]

        def joined(eval_ctx: Any, value: Any, d: str = "", attribute: Any = None) -> str:
            value = value if isinstance(value, (str, Mapping)) else list(value)
            if attribute is None:
                _check_join(value, len(str(d)))
            return str(join(eval_ctx, value, d, attribute))

        joined.jinja_pass_arg = join.jinja_pass_arg  # type: ignore[attr-defined]
        self.filters |= {
            "join": joined,
            "replace": _replace,
            "string": _string,
            "tojson": _tojson,
        }

    def joined(self, parts: tuple[Any, ...]) -> str:
        """What `~` makes."""
        _bound(sum(_weight(part) for part in parts))
        return "".join(map(str, parts))

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """What a loop runs over."""
        for item in items:
            _bound(_STEP)
            yield item

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja2's safe `str.format`, if it is asked for little."""
        wrapped: Callable[..., str] | None = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text: str = value.__self__

        def formatted(*args: Any, **named: Any) -> str:
            _check_format(text)
            given = (*args, *named.values())
            _bound(len(text) + text.count("{") * sum(_weight(part) for part in given))
            return wrapped(*args, **named)

        return formatted

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """What is written between two tags, or by a whole template."""
        kept = []
        for part in parts:
            _bound(len(part))
            kept.append(part)
        return "".join(kept)

    def call(self, context: Context, function: Any, /, *args: Any, **named: Any) -> Any:
        """Call, if that makes nothing enormous."""
        _bound(_CALL)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, (str, bytes)):
            _check_method(owner, getattr(function, "__name__", ""), args, named)
        return super().call(context, function, *args, **named)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Add, multiply, raise or format, if that makes nothing enormous."""
        if operator == "+":
            if isinstance(left, str) and isinstance(right, str):
                _bound(len(left) + len(right))
            elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
                _bound(_STEP * (len(left) + len(right)))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            _bound(len(left) + left.count("%") * _weight(right))
        elif operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(count, int) and isinstance(text, (str, bytes, list, tuple)):
                    _bound(len(text) * max(count, 0), _LARGEST_WIDTH)
            if isinstance(left, int) and isinstance(right, int):
                _bound((left.bit_length() + right.bit_length()) // 3, _LARGEST_NUMBER)
        elif operator == "**":
            _bound(abs(right) if isinstance(right, (int, float)) else 0, _LARGEST_POWER)
        return super().call_binop(context, operator, left, right)


def _finalized(value: Any) -> Any:
    """What `{{ }}` is about to write."""
    if not isinstance(value, str):
        _bound(_weight(value))
    return value
