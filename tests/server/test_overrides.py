"""Sampler overrides on the local server: presets and dictionaries, by their effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tabbyapi
from tabbyapi import LocalServer, user

HELLO = [user("Say hello.")]

PRESETS = {
    "short.yml": "max_tokens:\n  override: 3\n  force: false\n",
    "forced.yaml": "max_tokens:\n  override: 2\n  force: true\nno_such_field:\n  override: 1\n",
    "stops.yml": "stop:\n  override: ['e']\n  additive: true\ntemperature:\n  override: hot\n",
    "list.yml": "- max_tokens\n",
    "broken.yml": "max_tokens: {override: [\n",
    "flat.yml": "max_tokens: 3\n",
    "aliases.yml": "stop: &a\n  override: ['e']\nbanned_strings: *a\n",
    "large.yml": "# " + "x" * 1024 * 1024 + "\nmax_tokens:\n  override: 1\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("presets")
    for name, source in PRESETS.items():
        (folder / name).write_text(source)
    with LocalServer(model=tiny_model, presets_dir=folder, n_ctx=1024) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[tabbyapi.Client]:
    with server.client() as client:
        client.sampling.unload_override()
        yield client


def generated(client: tabbyapi.Client, **fields: object) -> int:
    reply = client.chat.create(HELLO, **fields)  # type: ignore[arg-type]
    assert reply.usage is not None
    return reply.usage.completion_tokens


def test_a_default_gives_way_to_the_request_and_a_forced_value_does_not(
    client: tabbyapi.Client,
) -> None:
    client.sampling.switch_override("short")
    assert (generated(client), generated(client, max_tokens=5)) == (3, 5)
    client.sampling.switch_override("forced")
    assert (generated(client), generated(client, max_tokens=5)) == (2, 2)
    assert client.completions.create("Once", max_tokens=5).usage.completion_tokens == 2  # type: ignore[union-attr]
    client.sampling.unload_override()
    assert generated(client, max_tokens=5) == 5


def test_lists_are_joined_where_the_override_is_additive(client: tabbyapi.Client) -> None:
    fixed = {"max_tokens": 60, "temperature": 0}
    whole = client.chat.create(HELLO, **fixed).text
    rare = next(c for c in whole if c != "e" and whole.lower().count(c) == 1)
    client.sampling.switch_override("stops")  # its temperature, which is no number, does nothing
    text = client.chat.create(HELLO, stop=[rare], **fixed).text
    assert "e" not in text
    assert rare not in text


def test_the_list_tells_what_is_in_force(server: LocalServer, client: tabbyapi.Client) -> None:
    client.sampling.switch_override("forced")
    found = client.sampling.list_overrides()
    assert found.selected_preset == "forced"
    assert found.overrides["max_tokens"].override == 2
    assert found.overrides["max_tokens"].force is True
    assert set(found.presets) == {path.partition(".")[0] for path in PRESETS}
    client.sampling.switch_override(overrides={"top_p": {"override": 0.9}})
    assert list(client.sampling.list_overrides().overrides) == ["top_p"]
    with tabbyapi.Client(server.url, api_key=server.api_key) as guest:
        assert guest.sampling.list_overrides().presets == []


@pytest.mark.parametrize(
    "name", ["missing", "../short", "list", "broken", "flat", "aliases", "large"]
)
def test_a_preset_that_cannot_be_used_leaves_the_old_one(
    client: tabbyapi.Client, name: str
) -> None:
    client.sampling.switch_override("short")
    with pytest.raises(tabbyapi.APIError):
        client.sampling.switch_override(name)
    assert generated(client) == 3


def test_n_can_be_overridden(client: tabbyapi.Client) -> None:
    client.sampling.switch_override(overrides={"n": {"override": 2}})
    assert len(client.chat.create(HELLO, max_tokens=2).choices) == 2


def test_an_additive_override_is_joined_with_one_string_and_force_beats_it(
    client: tabbyapi.Client,
) -> None:
    fixed = {"max_tokens": 60, "temperature": 0}
    whole = client.chat.create(HELLO, **fixed).text
    client.sampling.switch_override(
        overrides={"stop": {"override": [whole[9:12]], "additive": True}}
    )
    assert client.chat.create(HELLO, stop="\0", **fixed).text == whole.partition(whole[9:12])[0]
    forced = {"override": [whole[9:12]], "additive": True, "force": True}
    client.sampling.switch_override(overrides={"stop": forced})
    text = client.chat.create(HELLO, stop=whole[2:5], **fixed).text
    assert text == whole.partition(whole[9:12])[0]
