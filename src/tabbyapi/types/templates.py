"""Chat templates."""

from .base import Value

__all__ = ["TemplateList"]


class TemplateList(Value):
    """The wire form of a list of template names."""

    data: list[str]
    object: str = "list"
