"""Chat templates."""

import msgspec

__all__ = ["TemplateList"]


class TemplateList(msgspec.Struct):
    """The wire form of a list of template names."""

    object: str = "list"
    data: list[str] = []
