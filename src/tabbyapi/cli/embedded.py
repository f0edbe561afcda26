"""The server of one's own that `chat` and `ask` start when there is no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import ConnectError
from .output import warn

if TYPE_CHECKING:
    from .._client.sync import Client

__all__ = ["LOCAL_EXTRA", "embedded_client", "local_extra_missing"]

LOCAL_EXTRA = "pip install 'py-tabbyapi[local]'"


def local_extra_missing() -> str | None:
    """The first package that the local server needs and does not find; None if all are there."""
    needed = ("xllamacpp", "starlette", "uvicorn", "httptools", "jinja2", "pydantic", "llguidance")
    return next((name for name in needed if find_spec(name) is None), None)


@contextmanager
def embedded_client(why: str) -> Iterator[Client]:
    """A client of a server that lives as long as the block, on the default model.

    Args:
        why: what made it necessary, to begin the line that says so.

    Raises:
        ConnectError: the local server is not installed, or does not start.
        DownloadError: the default model cannot be fetched.
    """
    missing = local_extra_missing()
    if missing is not None:
        raise ConnectError(f"{why}, and the local server is not installed ({missing} is missing)")
    from ..local_server import LocalServer
    from ..server.model_files.default_model import default_model
    from .progress import download_progress

    with download_progress() as progress:
        model = default_model(tell=warn, progress=progress)
    warn(f"{why}: starting a server on this machine with {model.stem}.")
    with LocalServer(model) as server, server.client() as client:
        yield client
