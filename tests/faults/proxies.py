"""Real proxies (pproxy, in a process of its own), with and without a login."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .replies import free_port

__all__ = ["LOGIN", "PLAIN_LOGIN", "proxy"]

LOGIN = "us%40er:p%3Ass"
"""User "us@er" and password "p:ss", percent-encoded as in an address."""
PLAIN_LOGIN = "us@er:p:ss"

_PROGRAM = """
import asyncio, pproxy, sys
scheme, port, login = sys.argv[1:]
async def main():
    server = pproxy.Server(f"{scheme}://127.0.0.1:{port}" + (f"/#{login}" if login else ""))
    options = {"rserver": [], "verbose": lambda said: print(said, flush=True)}
    await server.start_server(options)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def proxy(scheme: str, login: str = "") -> Iterator[tuple[int, list[str]]]:
    """The port of a proxy, and a list that holds, after the block, what it passed on."""
    port, passed = free_port(), list[str]()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, scheme, str(port), login],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield port, passed
        time.sleep(0.1)
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=10)
        passed += out.splitlines()
