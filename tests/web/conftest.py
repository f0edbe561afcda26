"""The page in a real browser: Debian's Chromium, driven by Playwright, beside real servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")

from cli.scripted import PROGRAM, clean_environment
from support.page import CHROMIUM_ARGUMENTS, chromium_path

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=15_000)
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies, which fails the test when a page has an error or goes outside."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(15_000)
    errors: list[str] = []
    outside: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("dialog", lambda dialog: (errors.append("a dialog"), dialog.dismiss()))
    context.on(
        "request",
        lambda request: (
            None
            if re.match(r"(http|ws)://(127\.0\.0\.1|localhost):|data:|blob:", request.url)
            else outside.append(request.url)
        ),
    )
    yield context
    context.close()
    assert not errors
    assert not outside


@dataclass
class PageServer:
    """A running page: its address, and the home folder of its user."""

    url: str
    home: Path
    process: subprocess.Popen[str]


StartPage = Callable[..., PageServer]


@pytest.fixture(scope="module")
def start_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPage]:
    """Start pages: `start_page(url_of_the_api_server, *options, **environment)`."""
    started: list[PageServer] = []

    def start(url: str, *options: str, home: Path | None = None, **environment: str) -> PageServer:
        home = home or tmp_path_factory.mktemp("home")
        process = subprocess.Popen(
            [*PROGRAM, "web", "--url", url, "--port", "0", "--no-browser", *options],
            env={**clean_environment(home), "TABBY_API_KEY": "a-key", **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        page = PageServer("", home, process)
        started.append(page)
        line = process.stdout.readline()
        assert line.startswith("The page is at "), line
        page.url = line.split()[-1]
        return page

    yield start
    for page in started:
        page.process.terminate()
    for page in started:
        page.process.wait(10)
        assert page.process.stdout is not None
        page.process.stdout.close()
