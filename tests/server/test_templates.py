"""Prompt templates that are switched while the local server runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tabbyapi
from tabbyapi import LocalServer, user

HELLO = [user("Say hello.")]

TEMPLATES = {
    "plain.jinja": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "named.jinja2": "{{ persona }} hears: {{ messages[-1].content }}\n",
    "strict.jinja": "{{ raise_exception('no system message, please') }}",
    "broken.jinja": "{% for m in messages %}",
    "odd.jinja": "{{ messages[0].nothing.at.all }}",
    "notes.txt": "no template",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("templates")
    for name, source in TEMPLATES.items():
        (folder / name).write_text(source)
    with LocalServer(model=tiny_model, templates_dir=folder, n_ctx=1024) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[tabbyapi.Client]:
    with server.client() as client:
        yield client


def prompt_tokens(client: tabbyapi.Client, **fields: object) -> int:
    reply = client.chat.create(HELLO, max_tokens=1, **fields)  # type: ignore[arg-type]
    assert reply.usage is not None
    return reply.usage.prompt_tokens


def test_a_switch_changes_the_prompt_at_once(client: tabbyapi.Client) -> None:
    assert client.templates.list() == ["broken", "named", "odd", "plain", "strict"]
    client.templates.switch("plain")
    assert prompt_tokens(client) == len("user: Say hello.\n")
    client.templates.switch("named")
    wanted = len("Ada hears: Say hello.")  # a template's last line break is not its text
    assert prompt_tokens(client, template_vars={"persona": "Ada"}) == wanted
    card = client.models.get()
    assert card.parameters is not None
    assert card.parameters.prompt_template == "named"


def test_api_keys_see_the_template_in_use(server: LocalServer, client: tabbyapi.Client) -> None:
    client.templates.switch("plain")
    with tabbyapi.Client(server.url, api_key=server.api_key) as guest:
        assert guest.templates.list() == ["plain"]


def test_without_a_template_there_is_no_chat_but_text(client: tabbyapi.Client) -> None:
    client.templates.unload()
    with pytest.raises(tabbyapi.APIError, match="template is not set"):
        client.chat.create(HELLO, max_tokens=1)
    assert client.completions.create("Once", max_tokens=2).usage is not None
    client.templates.switch("plain")
    assert prompt_tokens(client)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "TemplateError"),
        ("missing", "no prompt template"),
        ("../models/x", "no prompt template"),
        ("notes", "no prompt template"),
    ],
)
def test_a_switch_that_fails_leaves_the_old_template(
    client: tabbyapi.Client, name: str, reason: str
) -> None:
    client.templates.switch("plain")
    with pytest.raises(tabbyapi.APIError, match=reason):
        client.templates.switch(name)
    assert prompt_tokens(client) == len("user: Say hello.\n")


@pytest.mark.parametrize(("name", "reason"), [("strict", "no system"), ("odd", "nothing")])
def test_a_template_that_fails_is_an_answer_not_the_end(
    client: tabbyapi.Client, name: str, reason: str
) -> None:
    client.templates.switch(name)
    with pytest.raises(tabbyapi.InvalidRequestError, match=reason):
        client.chat.create(HELLO, max_tokens=1)
    client.templates.switch("plain")
    assert prompt_tokens(client)
