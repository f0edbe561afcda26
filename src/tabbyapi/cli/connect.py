"""From `--url` and friends to a client: which server is meant, and whether one is there.

Address: the option, then the environment, then the config file, then the default. A key: the
option, then the environment, then what is kept for that very server, then, on this machine, what
`tabbyapi serve` has made up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from .errors import DEFAULT_ORIGIN, ORIGIN
from .settings import find

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from .._client.sync import Client
    from .credentials import KeyName

__all__ = ["KEY_VARIABLES", "Server", "connected", "server_options"]

F = TypeVar("F", bound=Callable[..., Any])

KEY_VARIABLES = {"api_key": "TABBY_API_KEY", "admin_key": "TABBY_ADMIN_KEY"}

_HOST, _PORT = "localhost", 5000


@dataclass(frozen=True)
class Server:
    """The server that is meant; None where nobody said anything.

    Attributes:
        url: its address.
        origin: where the address is from, in words.
        api_key, admin_key: given as options.
    """

    url: str | None = None
    origin: str = DEFAULT_ORIGIN
    api_key: str | None = None
    admin_key: str | None = None

    @property
    def named(self) -> bool:
        """Whether somebody said which server is meant."""
        return self.url is not None

    def client(self) -> Client:
        """A client of this server, or of the default one.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from .._client.sync import Client

        return Client(self.url, api_key=self._key("api_key"), admin_key=self._key("admin_key"))

    def async_client(self, **options: Any) -> AsyncClient:
        """An async client of this server; `options` are those of `AsyncClient`.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from .._client.aio import AsyncClient

        return AsyncClient(
            self.url,
            api_key=self._key("api_key"),
            admin_key=self._key("admin_key"),
            **options,
        )

    def _key(self, name: KeyName) -> str | None:
        given: str | None = getattr(self, name) or os.environ.get(KEY_VARIABLES[name])
        if given:
            return given
        from .._protocol.endpoint import DEFAULT_URL, normalised_url
        from .credentials import stored_key

        url = normalised_url(self.url or DEFAULT_URL)
        return stored_key(url, name) or _key_made_up_by_serve(url, name)


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
        server = Server(*_address(url), api_key, admin_key)
        click.get_current_context().meta[ORIGIN] = server.origin
        return function(*args, server=server, **kwargs)

    return command  # type: ignore[return-value]


def _address(option: str | None) -> tuple[str | None, str]:
    if option:
        return option, "the one given with --url"
    found = find("url")
    return (None, DEFAULT_ORIGIN) if found is None else (found.value, f"that of {found.origin}")


def _key_made_up_by_serve(url: str, name: KeyName) -> str | None:
    """The key that `tabbyapi serve` keeps for its owner; for servers on this machine only."""
    from .._transport.proxy import is_loopback
    from ..server.paths import data_folder

    if not is_loopback(urlsplit(url).hostname):
        return None
    try:
        keys = json.loads((data_folder() / "keys.json").read_text())
        key = keys.get(name)
    except (OSError, ValueError, AttributeError):
        return None  # there are none; a broken file is the server's to complain of
    return key if isinstance(key, str) else None


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
    import http.client

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
