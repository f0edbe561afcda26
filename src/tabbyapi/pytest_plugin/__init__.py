"""Fixtures of pytest for programs that use this client: `tabby_server` and `tabby_replay`.

pytest finds them by the entry point `pytest11`; nothing happens in a test that asks for neither.
Both fixtures point TABBY_API_ENDPOINT at a server of their own on this machine, so that a client
made without an address, anywhere in the program, talks to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .recording import TabbyReplay
    from .scripted import TabbyServer

__all__ = ["TabbyReplay", "TabbyServer", "tabby_replay", "tabby_server"]


def __getattr__(name: str) -> Any:
    if name == "TabbyServer":
        from .scripted import TabbyServer

        return TabbyServer
    if name == "TabbyReplay":
        from .recording import TabbyReplay

        return TabbyReplay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--tabby-record`."""
    parser.getgroup("tabbyapi").addoption(
        "--tabby-record",
        action="store_true",
        help="let tests with the fixture tabby_replay talk to the real server "
        "(TABBY_API_ENDPOINT), and record what is said",
    )


@pytest.fixture
def tabby_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TabbyServer]:
    """A server without a model, which answers as the test says.

    def test_greeting(tabby_server):
        tabby_server.say("Hello!")
        assert greet() == "Hello!"
    """
    from .scripted import TabbyServer

    for name in ("TABBY_API_KEY", "TABBY_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with TabbyServer() as server:
        monkeypatch.setenv("TABBY_API_ENDPOINT", server.url)
        yield server


@pytest.fixture
def tabby_replay(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TabbyReplay]:
    """A server that answers from the test's file in `replays/`, next to the test.

    `pytest --tabby-record` writes these files: requests go to the real server, and both sides are
    kept, without headers and keys.
    """
    from .recording import TabbyReplay

    test = request.node.nodeid.partition("::")[2]
    name = re.sub(r"[^\w.-]+", "-", f"{request.path.stem}.{test}").strip("-")
    path = request.path.parent / "replays" / f"{name}.json"
    record = request.config.getoption("--tabby-record")
    if not record and not path.exists():
        pytest.fail(
            f"there is no recording {path}; make one with: pytest --tabby-record", pytrace=False
        )
    upstream = os.environ.get("TABBY_API_ENDPOINT") or "http://localhost:5000"
    with TabbyReplay(path, upstream if record else None) as replay:
        monkeypatch.setenv("TABBY_API_ENDPOINT", replay.url)
        yield replay
