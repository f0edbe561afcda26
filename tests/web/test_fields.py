"""Parameters become form fields, and forms become parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")

import tabbyapi
from tabbyapi._protocol.requests.rules import rules_of
from tabbyapi.cli import sessions
from tabbyapi.errors import ValidationError
from tabbyapi.types import params
from tabbyapi.web.fields import fields_of
from tabbyapi.web.library import Library, file_name
from tabbyapi.web.schema import problem_of, problem_of_schema

CHAT = fields_of("ChatParams")


def test_every_parameter_has_a_field_with_its_documentation() -> None:
    assert CHAT.keys() == rules_of(params.ChatParams).keys()
    assert all(field.doc for field in CHAT.values())


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("temperature", "number", 0, 10),
        ("top_k", "integer", -1, None),
        ("token_healing", "switch", None, None),
        ("stop", "list", None, None),
        ("banned_tokens", "numbers", None, None),
        ("logit_bias", "json", None, None),
    ],
)
def test_kind_and_range_are_those_of_the_annotation(
    name: str, kind: str, low: float | None, high: float | None
) -> None:
    field = CHAT[name]
    assert (field.kind, field.low, field.high) == (kind, low, high)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.5),
        ("max_tokens", 7),
        ("stop", ["\n", "END", "a\\nb\t"]),
        ("logit_bias", {"5": -1.5}),
        ("token_healing", True),
        ("regex_pattern", "a+"),
    ],
)
def test_a_value_survives_being_shown(name: str, value: Any) -> None:
    field = CHAT[name]
    assert field.value_of(field.shown_of(value)) == value
    assert field.value_of(field.shown_of(None)) is None


@given(st.sampled_from(sorted(CHAT)), st.text(max_size=30))
def test_whatever_is_typed_is_taken_or_refused_with_the_name(name: str, typed: str) -> None:
    field = CHAT[name]
    if field.kind in ("number", "integer", "switch"):
        return  # these elements let only numbers and choices through
    refusal = ""
    try:
        field.value_of(typed)
    except ValidationError as error:
        refusal = str(error)
    assert not refusal or name in refusal or "JSON" in refusal


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="temperature"):
        CHAT["temperature"].value_of(11)
    with pytest.raises(ValidationError, match="max_tokens"):
        CHAT["max_tokens"].value_of(1.5)


def test_a_schema_is_checked_without_fetching_anything() -> None:
    assert problem_of_schema({"type": "object"}) == ""
    assert "not valid" in problem_of_schema({"type": "nonsense"})
    assert "not fetched" in problem_of_schema({"$ref": "http://127.0.0.1:9/schema"})
    assert problem_of_schema([]).startswith("A JSON schema is an object")
    assert problem_of({"a": 1}, {"properties": {"a": {"type": "string"}}}).startswith("Not valid")
    assert problem_of({}, {"type": "object"}) == ""


def test_the_library_lists_searches_and_passes_over_foreign_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "data_folder", lambda: tmp_path)
    client = tabbyapi.Client("http://127.0.0.1:9", api_key="a-key")
    for name, text in (("Plans", "a trip to Oslo"), (sessions.fresh_name(), "Why is it blue?")):
        messages = [{"role": "user", "content": text}]
        sessions.save(name, client.conversation(messages=messages))
    client.close()
    folder = tmp_path / "sessions"
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text(json.dumps([1, 2]))
    library = Library()
    assert {item.title for item in library.items()} == {"Plans", "Why is it blue?"}
    assert [item.name for item in library.items("OSLO trip")] == ["Plans"]
    assert library.items("nothing like it") == []
    with pytest.raises(ValidationError, match="already"):
        Library.rename(library.items("blue")[0].name, "Plans")
    for wrong in ("../x", "a/b", "", "."):
        with pytest.raises(ValidationError):
            Library.rename("Plans", wrong)


@given(st.text())
def test_file_names_are_plain(title: str) -> None:
    name = file_name(title, "md")
    assert name.endswith(".md")
    assert not set(name) & set('/\\:*?"<>|\r\n')
