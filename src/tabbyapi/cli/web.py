"""`tabbyapi web`: the page."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from ipaddress import ip_address

import click

from .connect import Server, server_options

__all__ = ["WEB_EXTRA", "PageProcess", "web", "web_extra_missing"]

WEB_EXTRA = "pip install 'py-tabbyapi[web]'"
_NEEDED = ("nicegui", "markdown_it", "nh3", "pygments", "jsonschema_rs")
_PASSWORD = "TABBY_WEB_PASSWORD"


def web_extra_missing() -> str | None:
    """The first package that the page needs and does not find; None if all are there."""
    return next((name for name in _NEEDED if find_spec(name) is None), None)


@click.command()
@server_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5050,
    envvar="TABBY_WEB_PORT",
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--password",
    envvar=_PASSWORD,
    metavar="TEXT",
    help=f"Ask for it before anything is shown. {_PASSWORD} shows in no process list.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Name by which browsers may call the page. Repeatable.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--with-parent", is_flag=True, hidden=True)
def web(
    server: Server,
    host: str,
    port: int,
    password: str | None,
    allowed_hosts: tuple[str, ...],
    no_browser: bool,
    with_parent: bool,
) -> None:
    """Show a page in the browser: chat, models, templates, health.

    \b
    tabbyapi web                                  for the server on this machine
    tabbyapi web --url http://gpu:5000 --port 8000
    TABBY_WEB_PASSWORD=... tabbyapi web --host 0.0.0.0

    Keys stay in this process; the browser never sees them. Conversations are those of
    'tabbyapi chat'. Ctrl-C stops the page.
    """
    missing = web_extra_missing()
    if missing is not None:
        raise click.ClickException(f"the page is not installed ({missing} is missing): {WEB_EXTRA}")
    if password is None and not _only_this_machine(host):
        raise click.UsageError(
            f"--host {host} lets other machines in: set {_PASSWORD}, or give --password"
        )
    from ..web.app import PageOptions, run

    options = PageOptions(
        host=host,
        port=port,
        password=password,
        allowed_hosts=allowed_hosts,
        open_browser=not no_browser,
        until_stdin_closes=with_parent,
    )
    try:
        run(options, server.async_client(), say=click.echo)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port"
        ) from None


def _only_this_machine(host: str) -> bool:
    """True if other machines cannot reach what listens on an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class PageProcess:
    """The page of `tabbyapi serve --web`, in a process that ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, url: str, *, api_key: str | None, admin_key: str | None) -> None:
        """Start it for the server at `url`. Keys travel in the environment."""
        keys = {"TABBY_API_KEY": api_key, "TABBY_ADMIN_KEY": admin_key}
        url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tabbyapi", "web", "--url", url, "--with-parent"],
            stdin=subprocess.PIPE,
            env={**os.environ, **{name: key for name, key in keys.items() if key}},
        )

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
