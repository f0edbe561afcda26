"""Headers of requests: checked once, and masked wherever they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ..errors import ValidationError

__all__ = ["Headers", "checked_headers"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SECRET = frozenset({"authorization", "proxy-authorization", "x-api-key", "x-admin-key", "cookie"})
_OURS = frozenset(
    {"connection", "content-length", "content-type", "te", "trailer", "transfer-encoding"}
)


class Headers:
    """Headers of a request, by name in any case; of several with one name the last holds.

    The values of keys and logins are masked in its repr, and it is no `Mapping`: error reporters
    that collect local variables would copy one with its values.
    """

    __slots__ = ("_fields",)

    def __init__(self, *sources: Mapping[str, str] | Headers) -> None:
        self._fields = {
            name.lower(): (name, value) for source in sources for name, value in source.items()
        }

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def get(self, name: str, default: str | None = None) -> str | None:
        found = self._fields.get(name.lower())
        return default if found is None else found[1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def keys(self) -> Iterable[str]:
        return [name for name, _ in self._fields.values()]

    def items(self) -> Iterable[tuple[str, str]]:
        return list(self._fields.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        shown = (
            f"{name}: {'***' if name.lower() in _SECRET else value}" for name, value in self.items()
        )
        return f"Headers({', '.join(shown)})"


def checked_headers(headers: Mapping[str, str] | None, field: str = "headers") -> dict[str, str]:
    """Headers that a program gave, once they can be sent.

    Raises:
        ValidationError: not a mapping; a name that is no token, or a value of several lines or
            without a form in UTF-8; a header that the client writes itself.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ValidationError(
            f"{field} must be a dict of names and values, not {type(headers).__name__}", field=field
        )
    for name, value in headers.items():
        why = None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            why = "a name consists of ASCII letters, digits and - only"
        elif not isinstance(value, str):
            why = f"its value must be a string, not {type(value).__name__}"
        elif name.lower() in _OURS:
            why = "the client writes this header itself"
        elif any((c < " " and c != "\t") or c == "\x7f" for c in value):
            why = "its value must be one line without control characters"
        elif any("\ud800" <= c <= "\udfff" for c in value):
            why = "its value holds half a character (a lone surrogate)"
        if why:
            raise ValidationError(f"{field}: {name!r} cannot be sent: {why}", field=field)
    return dict(headers)
