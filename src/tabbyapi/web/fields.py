"""Parameters as form fields, read from `types.params`: kind, range, documentation and group."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .._protocol.requests.rules import rules_of
from ..errors import ValidationError
from ..types import params
from ..types.rules import Config, Range

__all__ = ["Field", "fields_of"]

Kind = Literal["number", "integer", "switch", "choice", "text", "list", "numbers", "json"]
_NONE = type(None)
_DEFAULT = re.compile(r"[Dd]efault:? \"?([\w.-]{1,8}?)\"?(?: \(\w+\))?\.(?: |$)")
_GROUP = re.compile(r"\s+# --- (.+)")


@dataclass(frozen=True)
class Field:
    """A form field of a parameter.

    Attributes:
        name: the parameter.
        kind: how it is edited.
        low, high: its range, None where there is no bound.
        choices: the values of a choice.
        doc: what it does.
        group: the heading it stands under.
        rule: checks a value.
    """

    name: str
    kind: Kind
    low: float | None
    high: float | None
    choices: tuple[Any, ...]
    doc: str
    group: str
    rule: Callable[[str, Any], Any]

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def default(self) -> str:
        """The default, where the documentation names one in a word; otherwise ""."""
        found = _DEFAULT.search(self.doc)
        return found[1] if found else ""

    def value_of(self, shown: Any) -> Any:
        """The parameter's value from what the field shows; None if it is empty.

        Raises:
            ValidationError: it cannot be used.
        """
        if shown is None or (isinstance(shown, str) and not shown.strip()):
            return None
        value = shown
        if self.kind == "integer":
            value = int(shown) if float(shown).is_integer() else shown
        elif self.kind == "list":
            value = [_unescaped(line) for line in str(shown).splitlines() if line.strip()]
        elif self.kind == "numbers":
            value = [_number(word) for word in re.split(r"[\s,]+", str(shown)) if word]
        elif self.kind == "json":
            try:
                value = json.loads(shown)
            except ValueError as error:
                raise ValidationError(f"This is not JSON: {error}", field=self.name) from None
        return self.rule(self.name, value)

    def shown_of(self, value: Any) -> Any:
        """What the field shows for a parameter's value."""
        if value is None or self.kind in ("number", "integer", "switch", "choice"):
            return value
        if self.kind in ("list", "numbers"):
            items = value if isinstance(value, list | tuple) else [value]
            return "\n".join(_escaped(item) for item in items)
        if self.kind == "json":
            return json.dumps(value, indent=2, ensure_ascii=False)
        return str(value)


_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}


def _escaped(item: Any) -> str:
    """An item of a list in one line: a line end is written as \\n."""
    if not isinstance(item, str):
        return json.dumps(item)
    text = item
    for written, char in _ESCAPES.items():
        text = text.replace(char, written)
    return text


def _unescaped(line: str) -> str:
    return re.sub(r"\\[\\nrt]", lambda found: _ESCAPES[found[0]], line)


def _number(word: str) -> Any:
    """A number where a word is one; otherwise the word, which the rule refuses by name."""
    try:
        return json.loads(word)
    except ValueError:
        return word


@cache
def fields_of(described: str) -> dict[str, Field]:
    """The fields of a `TypedDict` of `types.params`, by name, in its order.

    Args:
        described: its name, such as "SamplingParams".
    """
    source = ast.parse(inspect.getsource(params))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    kind = getattr(params, described)
    hints = get_type_hints(kind, include_extras=True)
    rules = rules_of(kind)
    found: dict[str, Field] = {}
    for name, doc, group in _documented(classes, described):
        if name in rules:
            found[name] = _field(name, hints[name], doc, group, rules[name])
    return found


def _documented(classes: dict[str, ast.ClassDef], name: str) -> list[tuple[str, str, str]]:
    """Name, documentation and group of each field of a class, bases first."""
    node = classes[name]
    found = []
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found += _documented(classes, base.id)
    lines = inspect.getsource(params).splitlines()
    group, at = "", node.lineno
    for i, statement in enumerate(node.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            for line in lines[at : statement.lineno]:
                if (heading := _GROUP.match(line)) is not None:
                    group = heading[1]
            at = statement.lineno
            after = node.body[i + 1] if i + 1 < len(node.body) else None
            doc = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                doc = " ".join(str(after.value.value).split())
            found.append((statement.target.id, doc, group))
    return found


def _field(name: str, hint: Any, doc: str, group: str, rule: Callable[[str, Any], Any]) -> Field:
    bounds = Range()
    if get_origin(hint) is Annotated:
        hint, given, *_ = get_args(hint)
        bounds = given if isinstance(given, Range) else bounds
    union = get_origin(hint) in (Union, UnionType)
    members = [m for m in (get_args(hint) if union else (hint,)) if m not in (_NONE, Config)]
    choices = tuple(w for m in members if get_origin(m) is Literal for w in get_args(m))
    kind: Kind
    if members == [bool]:
        kind = "switch"
    elif choices and all(get_origin(m) is Literal for m in members):
        kind = "choice"
    elif float in members:
        kind = "number"
    elif int in members:
        kind = "integer"
    elif members == [str]:
        kind = "text"
    elif items := {kind for m in members for kind in _items(m)}:
        kind = "list" if str in items else "numbers"
    else:
        kind = "json"
    return Field(name, kind, bounds.low, bounds.high, choices, doc, group, rule)


def _items(kind: Any) -> set[Any]:
    """The types in a sequence of words or numbers; nothing for another kind."""
    if getattr(get_origin(kind), "__name__", "") != "Sequence":
        return set()
    (item,) = get_args(kind)
    items = set(get_args(item) or (item,))
    return items if items <= {str, int, float} else set()
