"""What the client's tests share."""

from __future__ import annotations

from typing import Any

import pytest

from support.both import ServiceCall, call_async, call_sync
from support.talk import Talk, talk_async, talk_sync


@pytest.fixture(params=[talk_sync, talk_async], ids=["sync", "async"])
def talk(request: Any) -> Talk:
    """The sync client, then the async one; see `support.talk`."""
    return request.param


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: Any) -> ServiceCall:
    """Any service of the sync client, then of the async one; see `support.both`."""
    return request.param


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TABBY_API_ENDPOINT", "TABBY_API_KEY", "TABBY_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
