"""LoRA adapters."""

from .base import Value

__all__ = ["LoraCard", "LoraList", "LoraLoadResponse", "LoraScaling"]


class LoraCard(Value):
    """An adapter. `scaling` is None in the list of all; `created` is the time of the request."""

    id: str
    object: str = "lora"
    created: int = 0
    owned_by: str = "tabbyAPI"
    scaling: float | None = None


class LoraList(Value):
    """The wire form of a list of adapters."""

    data: list[LoraCard]
    object: str = "list"


class LoraScaling(Value):
    """An adapter to load, and how strongly it is applied: 1.0 as trained, 0 not at all."""

    name: str
    scaling: float = 1.0


class LoraLoadResponse(Value):
    """Names of the adapters that were loaded, and of those that were not."""

    success: list[str]
    failure: list[str]
