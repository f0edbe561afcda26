"""What every test folder may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tabbyapi.local_server import LocalServer

# How long an example takes depends on what else the machine is doing.
settings.register_profile("tabbyapi", deadline=None)
settings.load_profile("tabbyapi")


@pytest.fixture(scope="session", autouse=True)
def _no_keys_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients on this machine find the keys that `tabbyapi serve` made up: hide the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The default model, for tests that need meaning; fetched once into the user's cache."""
    from tabbyapi.server.model_files.default_model import fetch_default

    return fetch_default()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights: loads in no time and babbles."""
    from support.tiny_model import write_random

    return write_random(tmp_path_factory.mktemp("models") / "tiny-random.gguf")


@pytest.fixture(scope="session")
def local_server(tiny_model: Path) -> Iterator[LocalServer]:
    """The local server with its real engine and the tiny model, which also makes embeddings.

    All tests share it: start one of your own to change its settings, or to unload its model.
    """
    from tabbyapi import LocalServer

    with LocalServer(model=tiny_model, embeddings=tiny_model.stem) as server:
        yield server
