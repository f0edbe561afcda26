"""LoRA adapters."""

import msgspec

__all__ = ["LoraCard", "LoraList", "LoraLoadResponse", "LoraScaling"]


class LoraCard(msgspec.Struct):
    """An adapter. `scaling` is None in the list of all; `created` is the time of the request."""

    id: str = ""
    object: str = "lora"
    created: int = 0
    owned_by: str = "tabbyAPI"
    scaling: float | None = None


class LoraList(msgspec.Struct):
    """The wire form of a list of adapters."""

    object: str = "list"
    data: list[LoraCard] = []


class LoraScaling(msgspec.Struct):
    """An adapter to load, and how strongly it is applied: 1.0 as trained, 0 not at all."""

    name: str
    scaling: float = 1.0


class LoraLoadResponse(msgspec.Struct):
    """Names of the adapters that were loaded, and of those that were not."""

    success: list[str] = []
    failure: list[str] = []
