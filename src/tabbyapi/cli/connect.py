"""From `--url` and friends to a client: which server is meant, and whether one is there."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..client import AsyncClient, Client

__all__ = ["Server", "connected", "origin_of_address", "server_options"]

F = TypeVar("F", bound=Callable[..., Any])

_HOST, _PORT = "localhost", 5000


@dataclass(frozen=True)
class Server:
    """What the command line says about the server; None where it says nothing."""

    url: str | None
    api_key: str | None
    admin_key: str | None

    @property
    def named(self) -> bool:
        """Whether somebody said which server is meant."""
        return bool(self.url or os.environ.get("TABBY_API_ENDPOINT"))

    def client(self) -> Client:
        """A client of this server, or of the default one.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from ..client import Client

        return Client(self.url, api_key=self.api_key, admin_key=self.admin_key)

    def async_client(self, **options: Any) -> AsyncClient:
        """An async client of this server; `options` are those of `AsyncClient`.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from ..client import AsyncClient

        return AsyncClient(self.url, api_key=self.api_key, admin_key=self.admin_key, **options)


def server_options(function: F) -> F:
    """Adds `--url`, `--api-key` and `--admin-key`; the command gets them as `server`."""

    @click.option("--url", metavar="URL", help="The server, e.g. http://localhost:5000.")
    @click.option(
        "--api-key", metavar="KEY", help="Its API key. TABBY_API_KEY shows in no process list."
    )
    @click.option("--admin-key", metavar="KEY", help="Its admin key, or TABBY_ADMIN_KEY.")
    @wraps(function)
    def command(
        *args: Any, url: str | None, api_key: str | None, admin_key: str | None, **kwargs: Any
    ) -> Any:
        server = Server(url, api_key, admin_key)
        click.get_current_context().meta[__name__] = server
        return function(*args, server=server, **kwargs)

    return command  # type: ignore[return-value]


def origin_of_address() -> str:
    """Where the running command has its server's address from."""
    context = click.get_current_context(silent=True)
    server = context.meta.get(__name__) if context is not None else None
    if server is not None and server.url:
        return "the one given with --url"
    if os.environ.get("TABBY_API_ENDPOINT"):
        return "that of TABBY_API_ENDPOINT"
    return "the default, because there is no --url and no TABBY_API_ENDPOINT"


@contextmanager
def connected(server: Server) -> Iterator[Client]:
    """A client of the server that is meant; of an embedded one, if none is named and none runs.

    Raises:
        TabbyError: the address cannot be used, or the embedded server does not start.
    """
    if server.named or _tabbyapi_listens(_HOST, _PORT):
        with server.client() as client:
            yield client
        return
    from .embedded import embedded_client

    with embedded_client(f"Nothing speaks TabbyAPI on {_HOST}:{_PORT}") as client:
        yield client


def _tabbyapi_listens(host: str, port: int) -> bool:
    """Whether a TabbyAPI server is there. Port 5000 is also used by others, macOS among them."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.connect()
    except OSError:
        return False
    try:
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read(65536))
    except TimeoutError:
        return True  # it accepts but is busy: the real call is more patient
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(health, dict) and "status" in health
