"""The page in Chromium: time to the first paint, and 20 tabs that stream at once.

    python -m benchmarks.web [--tabs 20] [--rate 10] [--seconds 20]

A scripted server sends each tab `rate` tokens a second. Each token is a number; the tab notes when
it is in the document, and how long after it was sent that is. Page and browser share the machine's
cores, with whatever else it is doing: the load average is printed beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.page import CHROMIUM_ARGUMENTS, chromium_path

_WATCH = """() => {
  window.seen = {};
  const look = () => {
    const at = performance.timeOrigin + performance.now();
    for (const body of document.querySelectorAll('article.assistant .body')) {
      const numbers = body.textContent.trim().split(/\\s+/);
      const last = Number(numbers[numbers.length - 1]);
      for (let i = last; i > 0 && !(i in window.seen); i--) window.seen[i] = at;
    }
  };
  new MutationObserver(look)
    .observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class Upstream:
    """A scripted TabbyAPI server.

    Attributes:
        sent: by the number of the tab, the time at which each token was sent.
    """

    def __init__(self, rate: float, seconds: float) -> None:
        self._rate = rate
        self._count = int(rate * seconds)
        self.sent: dict[int, dict[int, float]] = {}

    async def start(self) -> str:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length[1])) if length else b""
        if b"/chat/completions" in head:
            writer.write(_HEAD)
            await self._stream(int(json.loads(body)["messages"][-1]["content"]), writer)
        else:
            writer.write(_json(head))
        writer.close()

    async def _stream(self, tab: int, writer: asyncio.StreamWriter) -> None:
        sent = self.sent[tab] = {}
        start = time.monotonic()
        for i in range(1, self._count + 1):
            text = f"{i} " if i % 20 else f"{i}\n\n"
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            writer.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\r\n\r\n")
            sent[i] = time.time()
            await asyncio.sleep(max(0, start + i / self._rate - time.monotonic()))
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        writer.write(b"data: " + json.dumps({"choices": [last]}).encode() + b"\r\n\r\n")
        writer.write(b"data: [DONE]\r\n\r\n")


def _json(head: bytes) -> bytes:
    if b"/health" in head:
        answer: Any = {"status": "healthy"}
    elif b"permission" in head:
        answer = {"permission": "api"}
    else:
        answer = {"id": "scripted", "parameters": {"max_seq_len": 8192}}
    body = json.dumps(answer).encode()
    lines = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode() + body


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


async def first_paints(browser: Any, url: str) -> list[float]:
    """Milliseconds to the first paint, each with an empty browser cache."""
    found = []
    for _ in range(7):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("textbox", name="Message").wait_for()
        code = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        found.append(await page.evaluate(code))
        await context.close()
    return found


async def stream_tabs(
    browser: Any, url: str, upstream: Upstream, pid: int, tabs: int, seconds: float
) -> None:
    """Stream in all tabs at once, and print what it costs."""
    context = await browser.new_context()
    before = memory_mb(pid)
    pages = []
    for i in range(tabs):
        page = await context.new_page()
        await page.goto(url)
        await page.evaluate(_WATCH)
        await page.get_by_role("textbox", name="Message").fill(str(i))
        pages.append(page)
    await asyncio.sleep(2)
    cpu = cpu_seconds(pid)
    for page in pages:
        await page.get_by_role("textbox", name="Message").press("Enter")
    await asyncio.sleep(seconds + 3)
    cpu = cpu_seconds(pid) - cpu
    tokens, lags = 0, []
    for i, page in enumerate(pages):
        seen = await page.evaluate("window.seen")
        tokens += len(upstream.sent[i])
        missing = upstream.sent[i].keys() - {int(number) for number in seen}
        if missing:
            print(f"tab {i}: {len(missing)} tokens never showed")
        lags += [at - upstream.sent[i][int(n)] * 1000 for n, at in seen.items()]
    print(f"{tabs} tabs: {cpu / tokens * 1000:.2f} ms of CPU a token, {tokens} tokens")
    print(f"  memory: {(memory_mb(pid) - before) / tabs:.2f} MB a tab")
    ordered = quantiles(lags, n=20)
    print(f"  behind: median {median(lags):.0f} ms, p95 {ordered[18]:.0f} ms")
    await context.close()


@contextmanager
def page_process(api: str, home: str) -> Iterator[tuple[int, str]]:
    """The page in a process of its own; its id and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tabbyapi", "web", "--url", api, "--port", "0", "--no-browser"],
        env={**os.environ, "HOME": home, "TABBY_API_KEY": "a-key"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


async def measure(tabs: int, rate: float, seconds: float) -> None:
    """Start the page and the browser, and measure."""
    from playwright.async_api import async_playwright

    upstream = Upstream(rate, seconds)
    api = await upstream.start()
    with tempfile.TemporaryDirectory() as home, page_process(api, home) as (pid, url):
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS
            )
            print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            paints = await first_paints(browser, url)
            print(f"first paint: median {median(paints):.0f} ms, worst {max(paints):.0f} ms")
            await stream_tabs(browser, url, upstream, pid, 1, seconds)
            await stream_tabs(browser, url, upstream, pid, tabs, seconds)
            await browser.close()


def main() -> None:
    """Command-line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.web", description=__doc__)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=10, help="tokens a second in each tab")
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    if chromium_path() is None:
        raise SystemExit("There is no Chromium on this machine: apt-get install chromium")
    asyncio.run(measure(given.tabs, given.rate, given.seconds))


if __name__ == "__main__":
    main()
