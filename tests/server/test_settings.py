"""Settings have one name, type and meaning: in Python, in editors and on the command line."""

from __future__ import annotations

import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import tabbyapi
from tabbyapi.local_server import LocalServer, ServerSettings
from tabbyapi.server.settings import Settings


def shown(annotation: Any) -> set[Any]:
    """The alternatives of a type; a path may be given as a string as well."""
    alternatives = set(typing.get_args(annotation)) or {annotation}
    if typing.get_origin(annotation) is typing.Literal or typing.get_origin(annotation) is tuple:
        return {annotation}
    return alternatives - {str} if Path in alternatives else alternatives


def test_editors_complete_every_setting_with_its_type() -> None:
    offered = typing.get_type_hints(ServerSettings)
    settings = typing.get_type_hints(Settings)
    settings.pop("model")  # a parameter of its own
    assert list(offered) == [field.name for field in fields(Settings) if field.name != "model"]
    for name, annotation in settings.items():
        assert shown(offered[name]) == shown(annotation), name


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ctx", "n_ctx"),
        ("no_auth", "auth"),
        ("api_key", "api_keys"),
        ("tool_formats", "tool_format"),
    ],
)
def test_a_wrong_setting_is_refused_at_once_and_the_right_one_named(given: str, meant: str) -> None:
    settings: dict[str, Any] = {given: 1}
    with pytest.raises(tabbyapi.ValidationError, match=rf"{given}.*{meant}\?") as caught:
        LocalServer("model.gguf", **settings)
    assert caught.value.field == given
