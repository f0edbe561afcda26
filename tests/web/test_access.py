"""Keyboards, screen readers, narrow screens; and many tabs at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")
pytest.importorskip("playwright", reason="these tests drive a browser")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from support.replay import ReplayServer
from web.conftest import StartPage
from web.scripted import script
from web.test_chat import box, idle, messages, opened, say

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="module")
def address(start_page: StartPage) -> Iterator[str]:
    with ReplayServer([script]) as api:
        yield start_page(api.url).url


def violations(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(browser: Browser, address: str, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = opened(context, address)
    assert violations(page) == []
    say(page, "say Some **text** and `code`, [a link](http://example.com)\n\n```python\nx = 1\n```")
    page.get_by_role("button", name="Parameters").click()
    expect(page.get_by_label("Temperature")).to_be_visible()
    page.wait_for_timeout(400)
    assert violations(page) == []
    page.goto(f"{address}/server")
    expect(page.get_by_text("This page's key")).to_be_visible()
    assert violations(page) == []
    context.close()


def test_a_keyboard_is_enough(context: BrowserContext, address: str) -> None:
    page = opened(context, address)
    box(page).focus()
    page.keyboard.type("say first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    idle(page)
    expect(messages(page).nth(0)).to_contain_text("first line\nsecond line")
    page.keyboard.type("count 50")
    page.keyboard.press("Enter")
    expect(messages(page).nth(3)).to_contain_text("2")
    page.keyboard.press("Escape")
    idle(page)
    expect(page.get_by_text("Stopped.")).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        if label == "Edit message 1":
            break
    else:
        pytest.fail("the buttons of a message cannot be reached")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Message")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_enter_of_an_input_method_does_not_send(context: BrowserContext, address: str) -> None:
    page = opened(context, address)
    box(page).fill("こんにち")
    page.evaluate(
        """document.querySelector('textarea').dispatchEvent(
          new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"""
    )
    page.wait_for_timeout(200)
    expect(box(page)).to_have_value("こんにち")
    expect(messages(page)).to_have_count(0)


def test_a_phone_is_wide_enough(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
    page = opened(context, address)
    wide = "x" * 300
    say(page, f"say {wide}\n\n```\n{wide}\n```\n\n| {wide} | b |\n|---|---|\n| 1 | 2 |")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("button", name="New chat", exact=True)).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_twenty_tabs_stream_at_once_and_do_not_mix(context: BrowserContext, address: str) -> None:
    tabs = [context.new_page() for _ in range(20)]
    for tab in tabs:
        tab.goto(address, wait_until="commit")
    for i, tab in enumerate(tabs):
        expect(box(tab)).to_be_visible()
        say(tab, f"count {20 + i}", wait=False)
    for i, tab in enumerate(tabs):
        expect(messages(tab).nth(1).locator(".body")).to_have_text(
            " ".join(map(str, range(1, 21 + i))), timeout=30_000
        )
