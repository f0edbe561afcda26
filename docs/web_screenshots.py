"""Makes the pictures of docs/guides/web.md: the real page in Chromium, with the default model.

`make screenshots` runs it. Needs Debian's chromium.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tabbyapi import LocalServer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.page import CHROMIUM_ARGUMENTS, chromium_path

IMAGES = Path(__file__).parent / "images"
OPTIONS = ("--port", "0", "--no-browser")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 760}
QUESTIONS = (
    "What is the capital of France?",
    "Write a Python function that adds two numbers, with an example.",
)


def ask(page: Page, text: str) -> None:
    """Send a message and wait for the answer's end."""
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Send", exact=True).wait_for(timeout=120_000)


def pictures(browser: Browser, url: str) -> None:
    """Hold a conversation, and take pictures of it and of the server page."""
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="Parameters", exact=True).click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Max tokens").fill("160")
    page.wait_for_timeout(600)
    page.get_by_role("button", name="Parameters", exact=True).click()
    for question in QUESTIONS:
        ask(page, question)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "web-light.png")
    address = page.url
    page.get_by_role("button", name="Parameters", exact=True).click()
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "web-parameters.png")
    page.goto(f"{url}/server")
    page.get_by_role("tab", name="Models").click()
    page.get_by_text("Options for loading").click()
    page.wait_for_timeout(800)
    page.screenshot(path=IMAGES / "web-server.png")
    context.close()
    for name, size, scheme in (("web-dark", WIDE, "dark"), ("web-narrow", NARROW, "dark")):
        context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(address)
        page.wait_for_timeout(1500)
        page.screenshot(path=IMAGES / f"{name}.png")
        context.close()


def main() -> None:
    """Make all of them."""
    path = chromium_path()
    if path is None:
        raise SystemExit("There is no Chromium on this machine: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with LocalServer() as server, tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HOME": home,
            "TABBY_API_KEY": server.api_key,
            "TABBY_ADMIN_KEY": server.admin_key,
        }
        page = subprocess.Popen(
            [sys.executable, "-m", "tabbyapi", "web", "--url", server.url, *OPTIONS],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert page.stdout is not None
        try:
            url = page.stdout.readline().split()[-1]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
                pictures(browser, url)
                browser.close()
        finally:
            page.terminate()
            page.wait()


if __name__ == "__main__":
    main()
