"""Sampler overrides: what the server puts in place of the samplers' defaults."""

from typing import Any

from .base import Value

__all__ = ["SamplerOverride", "SamplerOverrides"]


class SamplerOverride(Value):
    """The override of one field.

    Attributes:
        override: the value that replaces the field's default.
        force: replace what a request asks for, too. The request is not told.
        additive: where both are lists, join them.
    """

    override: Any = None
    force: bool = False
    additive: bool = False


class SamplerOverrides(Value, kw_only=True):
    """The overrides in force.

    Attributes:
        selected_preset: the preset switched to last, None if no overrides are in force. The
            server keeps naming it after a switch to other overrides than a preset's.
        overrides: by name of the field.
        presets: names of all presets; empty unless asked with the admin key.
    """

    selected_preset: str | None = None
    overrides: dict[str, SamplerOverride]
    presets: list[str] = []
