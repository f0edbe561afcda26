"""From `--server`, `--url` and the like to a client: which server is meant, and is one there.

Address: the option, then the environment, then the config file, then the default. A key: the
option, then the environment, then the stored key of that server, then, on this machine, the one
that `tabbyapi serve` has made up.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import DEFAULT_ORIGIN, ORIGIN
from .output import warn
from .settings import config_path, find, server_url, servers

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from .._client.sync import Client
    from .credentials import KeyName

__all__ = [
    "KEY_VARIABLES",
    "Server",
    "complete_models",
    "complete_servers",
    "connected",
    "server_options",
]

F = TypeVar("F", bound=Callable[..., Any])

KEY_VARIABLES = {"api_key": "TABBY_API_KEY", "admin_key": "TABBY_ADMIN_KEY"}

_HOST, _PORT = "localhost", 5000


@dataclass(frozen=True)
class Server:
    """The server that is meant.

    Attributes:
        url: its address, None where it was not given anywhere.
        origin: where the address is from, in words.
        api_key, admin_key: given as options.
        name: its name in the config file, if it was meant by name.
    """

    url: str | None = None
    origin: str = DEFAULT_ORIGIN
    api_key: str | None = None
    admin_key: str | None = None
    name: str | None = None

    @property
    def named(self) -> bool:
        """True if the server was given somewhere."""
        return self.url is not None

    def client(self) -> Client:
        """A client of this server, or of the default one.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from .._client.sync import Client

        return Client(self.url, **self.keys())

    def async_client(self, **options: Any) -> AsyncClient:
        """An async client of this server; `options` are those of `AsyncClient`.

        Raises:
            ValidationError: an address or a key that cannot be used.
        """
        from .._client.aio import AsyncClient

        return AsyncClient(self.url, **self.keys(), **options)

    def keys(self) -> dict[str, Any]:
        """Its keys, None for one that is not known."""
        from .._client.local_keys import with_local_keys
        from .._protocol.endpoint import DEFAULT_URL, normalised_url

        url = normalised_url(self.url or DEFAULT_URL)
        api_key, admin_key = with_local_keys(
            url, self._key(url, "api_key"), self._key(url, "admin_key")
        )
        return {"api_key": api_key, "admin_key": admin_key}

    def _key(self, url: str, name: KeyName) -> str | None:
        """A key that was given or set, None if none was.

        For a server meant by name, its stored key goes before the environment's, which may be
        that of another server.
        """
        given: str | None = getattr(self, name)
        if given:
            return given
        from .credentials import stored_key

        of_environment = os.environ.get(KEY_VARIABLES[name])
        stored = None if of_environment and self.name is None else stored_key(url, name)
        return stored or of_environment


def server_options(function: F) -> F:
    """Adds `--server`, `--url`, the keys and `--verbose`; the command gets them as `server`."""

    @click.option(
        "--server",
        "-s",
        "name_of_server",
        metavar="NAME",
        shell_complete=complete_servers,
        help="The server, by the name that 'config add-server' gave it.",
    )
    @click.option("--url", metavar="URL", help="The server, e.g. http://localhost:5000.")
    @click.option(
        "--api-key", metavar="KEY", help="Its API key. TABBY_API_KEY shows in no process list."
    )
    @click.option("--admin-key", metavar="KEY", help="Its admin key, or TABBY_ADMIN_KEY.")
    @click.option("--verbose", "-v", is_flag=True, help="Show requests and answers' statuses.")
    @wraps(function)
    def command(
        *args: Any,
        name_of_server: str | None,
        url: str | None,
        api_key: str | None,
        admin_key: str | None,
        verbose: bool,
        **kwargs: Any,
    ) -> Any:
        server = server_of(name_of_server, url, api_key, admin_key)
        click.get_current_context().meta[ORIGIN] = server.origin
        if verbose:
            _show_requests()
        elif "TABBY_LOG" not in os.environ:
            # Retries are logged as warnings, which Python prints where nothing is configured.
            logging.getLogger("tabbyapi").addHandler(logging.NullHandler())
        return function(*args, server=server, **kwargs)

    return command  # type: ignore[return-value]


def server_of(
    name: str | None, url: str | None, api_key: str | None, admin_key: str | None
) -> Server:
    """The server that options, the environment and the config file mean.

    Raises:
        click.UsageError: it is given both by name and by address.
        ValidationError: there is none of this name.
    """
    if name and url:
        raise click.UsageError("--url and --server name two servers: give one")
    if name:
        origin = f"that of the server {name} in {config_path()}"
        return Server(server_url(name), origin, api_key, admin_key, name)
    if url:
        return Server(url, "the one given with --url", api_key, admin_key)
    found = find("url")
    if found is None:
        return Server(api_key=api_key, admin_key=admin_key)
    return Server(found.value, f"that of {found.origin}", api_key, admin_key)


def complete_servers(ctx: click.Context, param: click.Parameter, start: str) -> list[str]:
    """Names of servers in the config file, for the shell."""
    with suppress(Exception):  # a completion has no place for errors
        return [name for name in servers() if name.startswith(start)]
    return []


def complete_models(ctx: click.Context, param: click.Parameter, start: str) -> list[str]:
    """Names of the server's models, for the shell."""
    given = ctx.params.get
    with suppress(Exception):
        server = server_of(
            given("name_of_server"), given("url"), given("api_key"), given("admin_key")
        )
        with server.client() as client:
            cards = client.with_options(retry=0).models.list(timeout=2)
        return [card.id for card in cards if card.id.startswith(start)]
    return []


def _show_requests() -> None:
    """Write the client's log of requests to standard error."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(f"* {record.getMessage()}")

    log = logging.getLogger("tabbyapi")
    log.handlers = [Shown()]
    log.setLevel(logging.INFO)


@contextmanager
def connected(server: Server) -> Iterator[Client]:
    """A client of the server that is meant; of an embedded one, if none is given and none runs.

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
    """True if a TabbyAPI server listens. Others use port 5000 as well, macOS among them."""
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
        return True  # it accepts but is busy: the real request waits longer
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(health, dict) and "status" in health
