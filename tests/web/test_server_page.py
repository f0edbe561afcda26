"""Looking after the local server in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")
pytest.importorskip("playwright", reason="these tests drive a browser")
pytest.importorskip("xllamacpp")

from playwright.sync_api import expect

from support.tiny_lora import write_lora
from support.tiny_model import write_random
from tabbyapi import LocalServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from web.conftest import StartPage


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("served")
    for name in ("models", "loras", "templates", "presets"):
        (folder / name).mkdir()
    write_random(folder / "models" / "one.gguf", seed=1)
    write_random(folder / "models" / "two.gguf", seed=2)
    write_lora(folder / "loras" / "pirate.gguf")
    (folder / "templates" / "terse.jinja").write_text("{{ messages[-1].content }}")
    (folder / "presets" / "cold.yml").write_text("temperature:\n  override: 0.1\n  force: true\n")
    (folder / "models" / "broken.gguf").write_bytes(b"no model")
    with LocalServer(
        model=folder / "models" / "one.gguf",
        loras_dir=folder / "loras",
        templates_dir=folder / "templates",
        presets_dir=folder / "presets",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def address(start_page: StartPage, server: LocalServer) -> str:
    keys = {"TABBY_API_KEY": server.api_key, "TABBY_ADMIN_KEY": server.admin_key}
    return start_page(server.url, **keys).url


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}/server")
    expect(page.get_by_text("This page's key")).to_be_visible()
    return page


def section(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_health_model_and_key_are_shown(page: Page, server: LocalServer) -> None:
    facts = page.locator("dl.facts")
    for shown in (server.url, "healthy", "one", "admin", "tokens"):
        expect(facts).to_contain_text(shown)


def test_a_model_is_loaded_with_progress_and_options_and_unloaded(page: Page) -> None:
    section(page, "Models")
    page.get_by_text("Options for loading").click()
    page.get_by_label("Cache size").fill("1000")
    expect(page.get_by_text("a multiple of 256")).to_be_visible()
    page.get_by_label("Cache size").fill("")
    page.get_by_label("Max seq len").fill("2048")
    page.wait_for_timeout(500)
    page.evaluate(
        """() => { window.steps = new Set(); new MutationObserver(() => {
          const label = document.querySelector('[role=status]:not(:empty)');
          for (const l of document.querySelectorAll('[role=status]'))
            if (l.textContent.startsWith('Loading')) window.steps.add(l.textContent);
        }).observe(document.body, {subtree: true, childList: true, characterData: true}) }"""
    )
    page.get_by_role("button", name="Load two").click()
    expect(page.get_by_role("button", name="Load one")).to_be_visible()
    assert page.evaluate("window.steps.size") >= 1
    section(page, "Health")
    expect(page.locator("dl.facts")).to_contain_text("2,048 tokens")
    section(page, "Models")
    page.get_by_role("button", name="Unload").click()
    expect(page.get_by_role("button", name="Load two")).to_be_visible()
    page.get_by_role("button", name="Load one").click()
    expect(page.get_by_role("button", name="Load one")).to_have_count(0)


def test_a_broken_model_is_explained(page: Page) -> None:
    section(page, "Models")
    if page.get_by_role("button", name="Load broken").count():
        page.get_by_role("button", name="Load broken").click()
        expect(page.locator(".bad-text").filter(has_text="broken")).to_be_visible()
        section(page, "Health")
        section(page, "Models")
        if page.get_by_role("button", name="Load one").count():
            page.get_by_role("button", name="Load one").click()
            expect(page.get_by_role("button", name="Load one")).to_have_count(0)


def test_adapters_are_used_with_a_scaling(page: Page, server: LocalServer) -> None:
    section(page, "Adapters")
    page.get_by_label("Scaling of pirate").fill("0.5")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Applied.")).to_be_visible()
    with server.client() as client:
        assert [(a.id, a.scaling) for a in client.lora.active()] == [("pirate", 0.5)]
    page.get_by_label("Scaling of pirate").fill("")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("No adapter is in use.")).to_be_visible()


def test_templates_and_presets_are_switched(page: Page, server: LocalServer) -> None:
    section(page, "Presets")
    page.get_by_role("button", name="Use cold").click()
    expect(page.get_by_text("Overrides in force")).to_be_visible()
    expect(page.locator("dl.facts").last).to_contain_text("0.1 (forced)")
    page.get_by_role("button", name="Stop using it").click()
    expect(page.get_by_role("button", name="Use cold")).to_be_visible()
    section(page, "Templates")
    page.get_by_role("button", name="Use terse").click()
    expect(page.get_by_text("terse is in use.")).to_be_visible()
    with server.client() as client:
        card = client.models.get()
        assert card.parameters is not None
        assert card.parameters.prompt_template == "terse"


def test_tokens_are_counted(page: Page, server: LocalServer) -> None:
    section(page, "Tokens")
    page.get_by_label("Text").fill("How many tokens is this?")
    page.get_by_role("button", name="Count tokens").click()
    with server.client() as client:
        count = client.tokens.count("How many tokens is this?")
    expect(page.get_by_text(f"{count} tokens")).to_be_visible()


def test_without_the_admin_key_nothing_can_be_changed(
    context: BrowserContext, start_page: StartPage, server: LocalServer
) -> None:
    page = context.new_page()
    page.goto(f"{start_page(server.url, TABBY_API_KEY=server.api_key).url}/server")
    expect(page.locator("dl.facts")).to_contain_text("API key, no changes")
    for name in ("Models", "Adapters", "Templates", "Presets"):
        section(page, name)
        panel = page.locator(".q-tab-panel")
        expect(panel.get_by_text("need the server's admin key")).to_be_visible()
        expect(panel.locator("button")).to_have_count(0)


def test_serve_shows_the_page_too(tmp_path: Path, tiny_model: Path) -> None:
    import subprocess

    import urllib3

    from cli.scripted import PROGRAM, clean_environment

    keys = ["--api-key", "an-api-key", "--admin-key", "an-admin-key"]
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--web", "--model", str(tiny_model), "--port", "0", *keys],
        env=clean_environment(tmp_path, TABBY_WEB_PORT="0", BROWSER="true"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = next(line for line in process.stdout if line.startswith("The page is at")).split()[-1]
    assert urllib3.request("GET", f"{url}/server").status == 200
    process.kill()  # without a chance to stop the page
    process.wait()
    assert process.stdout.read() is not None  # until the page has closed its end, too
    process.stdout.close()
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", url, retries=False)
