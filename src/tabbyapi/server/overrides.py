"""Sampler overrides: values in place of the defaults of sampling fields, or of what is sent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from .model_files.folders import find
from .schemas import GenerationRequest, SamplerRequest

__all__ = ["PRESET_SUFFIXES", "Override", "Overrides", "PresetError", "read_preset"]

log = logging.getLogger("tabbyapi.server")

PRESET_SUFFIXES = (".yml", ".yaml")
_LARGEST = 1024 * 1024
_LISTS = ("stop", "banned_strings", "dry_sequence_breakers")  # what additive ones are added to

_FIELDS = {*SamplerRequest.model_fields, "n"}

R = TypeVar("R", bound=GenerationRequest)


class PresetError(ValueError):
    """A preset that cannot be used; the message says why."""


class Override(BaseModel):
    """The override of one field: what it is where a client sends nothing.

    With `force` also where a client sends something; with `additive` in front of what a client
    sends, for fields that are lists.
    """

    override: Any = None
    force: bool = False
    additive: bool = False


_overrides = TypeAdapter(dict[str, Override])


class Overrides:
    """The overrides in force. `listed` is what the list route shows of them."""

    def __init__(self) -> None:
        self.preset: str | None = None
        self.listed: dict[str, Any] = {}
        self._values: dict[str, Override] = {}

    def switch(self, listed: dict[str, Any], preset: str | None = None) -> None:
        """Put these in force. Raises `PresetError` if they are no overrides; the old ones stay."""
        try:
            values = _overrides.validate_python(listed)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise PresetError(
                f"overrides are of the form {{field: {{override: value}}}}, but "
                f"{where}: {first['msg']}"
            ) from None
        self.listed, self._values = listed, {}
        self.preset = preset or self.preset  # it goes on being named, as on TabbyAPI
        unknown = [field for field in values if field not in _FIELDS]
        if unknown:
            shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            log.warning("the sampler override of %s does nothing: no field has that name", shown)
        for field, value in values.items():
            if field not in _FIELDS:
                continue
            try:
                checked = GenerationRequest.model_validate({field: value.override})
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                log.warning("the sampler override of %s is ignored: %s", field, reason)
                continue
            self._values[field] = value.model_copy(update={"override": getattr(checked, field)})

    def clear(self) -> None:
        """Put none in force."""
        self.listed, self._values = {}, {}

    def apply(self, body: R) -> R:
        """The request with the overrides put in."""
        changes: dict[str, Any] = {}
        for field, value in self._values.items():
            own = getattr(body, field) if field in body.model_fields_set else None
            if own is None or (value.force and value.override):
                changes[field] = value.override
            elif value.additive and field in _LISTS:
                changes[field] = [*_listed(value.override), *_listed(own)]
        return body.model_copy(update=changes) if changes else body


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


class _Loader(yaml.SafeLoader):
    """Plain YAML. A few lines of aliases of aliases would be gigabytes as JSON."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read in presets")
        return super().compose_node(parent, index)


def read_preset(folder: Path | None, name: str) -> dict[str, Any]:
    """A preset of the folder. Raises `PresetError`."""
    path = find(folder, name, *PRESET_SUFFIXES)
    if path is None:
        raise PresetError(f"There is no sampler override preset {name!r}.")
    try:
        if path.stat().st_size > _LARGEST:
            raise PresetError(f"The preset {name!r} is too large.")
        listed = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise PresetError(f"The preset {name!r} cannot be read: {error}") from None
    if not isinstance(listed, dict):
        raise PresetError(f"The preset {name!r} holds no fields.")
    return {str(field): value for field, value in listed.items()}
