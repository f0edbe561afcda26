"""`tabbyapi config`: settings, servers and keys that need not be given each time."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .connect import KEY_VARIABLES, complete_servers
from .credentials import KeyName, forget_key, keys_path, place_of_key, store_key
from .groups import SuggestingGroup
from .output import json_option, put, warn
from .output import show as print_result
from .settings import (
    SETTINGS,
    config_path,
    find,
    remove,
    remove_server,
    server_url,
    servers,
    store,
    store_server,
    value_of,
)

__all__ = ["config"]

_NAMES = [name.replace("_", "-") for name in (*SETTINGS, *KEY_VARIABLES)]
_name = click.argument("name", type=click.Choice(_NAMES), metavar="NAME")
_url = click.option("--url", metavar="URL", help="The server a key is for. Default: the one set.")
_server = click.option(
    "--server",
    "-s",
    "server_name",
    metavar="NAME",
    shell_complete=complete_servers,
    help="The same, by the name that add-server gave it.",
)


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Show and change the settings that stand in for options.

    An option goes before the environment, the environment before the config file. Names and
    variables: url (TABBY_API_ENDPOINT), model (TABBY_MODEL), system (TABBY_SYSTEM), max-tokens
    (TABBY_MAX_TOKENS), temperature (TABBY_TEMPERATURE), api-key (TABBY_API_KEY), admin-key
    (TABBY_ADMIN_KEY).

    A key is stored for one server, and sent to no other: in the keyring if the package keyring is
    installed, otherwise in a file that only you can read.

    \b
    tabbyapi config set url http://192.168.1.5:5000
    tabbyapi config set api-key            asks for it; or: ... < key.txt
    tabbyapi config add-server gpu --url http://192.168.1.5:5000
    tabbyapi config show
    """


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Show what is set, and where. Keys are never shown.

    \b
    tabbyapi config show
    tabbyapi config show --json | jq -r .url.value
    """
    rows: dict[str, Any] = {name: _setting(name) for name in SETTINGS}
    server = _server_of_keys(None, None)
    rows |= {name: _key(server, name) for name in KEY_VARIABLES}
    lines = []
    for name, row in rows.items():
        value = "-" if row["value"] is None else str(row["value"])
        origin = f"  ({row['origin']})" if row["origin"] else ""
        lines.append(f"{name.replace('_', '-'):<12} {value}{origin}")
    known = servers()
    lines += [f"server {name}: {url}" for name, url in known.items()]
    print_result({**rows, "servers": known}, lines, as_json=as_json)


@config.command()
def path() -> None:
    """Print the path of the config file, whether it exists or not.

    \b
    tabbyapi config path
    $EDITOR "$(tabbyapi config path)"
    """
    put(str(config_path()))


@config.command("set")
@_name
@click.argument("value", required=False)
@_url
@_server
@click.option("--in-file", is_flag=True, help="Store a key in the file, not in the keyring.")
def set_(
    name: str, value: str | None, url: str | None, server_name: str | None, in_file: bool
) -> None:
    """Set NAME to VALUE. A key is asked for, or read from standard input.

    \b
    tabbyapi config set url http://192.168.1.5:5000
    tabbyapi config set temperature 0.7
    tabbyapi config set api-key -s gpu < key.txt
    """
    field = name.replace("-", "_")
    if field not in KEY_VARIABLES:
        if value is None or url or server_name or in_file:
            raise click.UsageError(f"tabbyapi config set {name} VALUE: no more, and no less")
        value = value_of(field, value, "VALUE")
        store(field, value)
        warn(f"{name} is now {value}, in {config_path()}")
        _tell_if_overruled(field)
        return
    if value is not None:
        raise click.UsageError(
            f"a key on the command line stays in the shell's history and shows in the list of "
            f"processes: give {name} alone to be asked for it, or put it on standard input"
        )
    server = _server_of_keys(url, server_name)
    place = store_key(server, _key_name(field), _asked_for(name, server), in_file=in_file)
    where = "the keyring" if place == "keyring" else str(keys_path())
    warn(f"The {name} of {server} is stored in {where}.")


@config.command()
@_name
@_url
@_server
def unset(name: str, url: str | None, server_name: str | None) -> None:
    """Take NAME out of the config file, or remove a key.

    \b
    tabbyapi config unset temperature
    tabbyapi config unset api-key
    """
    field = name.replace("-", "_")
    if field in KEY_VARIABLES:
        gone = forget_key(_server_of_keys(url, server_name), _key_name(field))
    else:
        gone = remove(field)
    warn(f"{name} is no longer set." if gone else f"{name} was not set.")


@config.command("add-server")
@click.argument("name")
@click.option("--url", metavar="URL", required=True, help="Its address.")
def add_server(name: str, url: str) -> None:
    """Give a server a name, for -s NAME of every command.

    \b
    tabbyapi config add-server gpu --url http://192.168.1.5:5000
    tabbyapi config set api-key -s gpu
    tabbyapi chat -s gpu
    """
    store_server(name, url)
    warn(f"{name} is now {server_url(name)}. Its key: tabbyapi config set api-key -s {name}")


@config.command("remove-server")
@click.argument("name", shell_complete=complete_servers)
def remove_server_(name: str) -> None:
    """Forget a server's name and its keys.

    \b
    tabbyapi config remove-server gpu
    """
    url = server_url(name)
    remove_server(name)
    if url not in servers().values():
        for key in KEY_VARIABLES:
            forget_key(url, _key_name(key))
    warn(f"{name} is forgotten.")


def _setting(name: str) -> dict[str, Any]:
    found = find(name)
    if found is None:
        return {"value": None, "origin": None}
    return {"value": found.value, "origin": found.origin}


def _key(server: str, name: str) -> dict[str, Any]:
    """Source of a key (a file, the environment), without the key."""
    variable = KEY_VARIABLES[name]
    if os.environ.get(variable):
        return {"value": "set", "origin": variable}
    place = place_of_key(server, _key_name(name))
    if place is None:
        return {"value": None, "origin": None}
    where = "keyring" if place == "keyring" else str(keys_path())
    return {"value": "set", "origin": f"{where}, for {server}"}


def _key_name(name: str) -> KeyName:
    return "admin_key" if name == "admin_key" else "api_key"


def _server_of_keys(url: str | None, name: str | None) -> str:
    from .._protocol.endpoint import DEFAULT_URL, normalised_url

    if url and name:
        raise click.UsageError("--url and --server name two servers: give one")
    if name:
        url = server_url(name)
    found = find("url")
    return normalised_url(url or (found.value if found else DEFAULT_URL))


def _asked_for(name: str, server: str) -> str:
    if sys.stdin.isatty():
        key: str = click.prompt(f"{name} of {server}", hide_input=True, err=True)
    else:
        key = sys.stdin.readline()
    key = key.strip()
    if not key:
        raise click.UsageError(f"no {name} was given")
    from .._protocol.keys import Keys

    Keys(key, None, None)  # refuses now what no header can carry
    return key


def _tell_if_overruled(name: str) -> None:
    if os.environ.get(SETTINGS[name]):
        warn(f"{SETTINGS[name]} is set in the environment, and goes before the config file.")
