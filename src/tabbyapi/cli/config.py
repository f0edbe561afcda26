"""`tabbyapi config`: settings and keys that need not be given each time."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .connect import KEY_VARIABLES
from .credentials import KeyName, forget_key, keys_path, place_of_key, store_key
from .output import warn
from .settings import SETTINGS, config_path, find, remove, store, value_of

__all__ = ["config"]

_NAMES = [name.replace("_", "-") for name in (*SETTINGS, *KEY_VARIABLES)]
_name = click.argument("name", type=click.Choice(_NAMES), metavar="NAME")
_url = click.option("--url", metavar="URL", help="The server a key is for. Default: the one set.")


@click.group()
def config() -> None:
    """Show and change what commands take where no option says it.

    An option goes before the environment, the environment before the config file. Names and
    variables: url (TABBY_API_ENDPOINT), model (TABBY_MODEL), system (TABBY_SYSTEM), max-tokens
    (TABBY_MAX_TOKENS), temperature (TABBY_TEMPERATURE), api-key (TABBY_API_KEY), admin-key
    (TABBY_ADMIN_KEY).

    Keys are kept for one server each, and sent to no other: in the keyring if the package keyring
    is installed, otherwise in a file that only you can read.

    \b
    tabbyapi config set url http://192.168.1.5:5000
    tabbyapi config set api-key            asks for it; or: ... < key.txt
    tabbyapi config show
    """


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """What is set, and where. Keys are never shown.

    \b
    tabbyapi config show
    tabbyapi config show --json | jq -r .url.value
    """
    rows = {name: _setting(name) for name in SETTINGS}
    server = _server_of_keys(None)
    rows |= {name: _key(server, name) for name in KEY_VARIABLES}
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for name, row in rows.items():
        value = "-" if row["value"] is None else str(row["value"])
        origin = f"  ({row['origin']})" if row["origin"] else ""
        click.echo(f"{name.replace('_', '-'):<12} {value}{origin}")


@config.command()
def path() -> None:
    """Where the config file is, whether it exists or not.

    \b
    tabbyapi config path
    $EDITOR "$(tabbyapi config path)"
    """
    click.echo(config_path())


@config.command("set")
@_name
@click.argument("value", required=False)
@_url
@click.option("--in-file", is_flag=True, help="Keep a key in the file, not in the keyring.")
def set_(name: str, value: str | None, url: str | None, in_file: bool) -> None:
    """Set NAME to VALUE. A key is asked for, or read from standard input.

    \b
    tabbyapi config set url http://192.168.1.5:5000
    tabbyapi config set temperature 0.7
    tabbyapi config set api-key --url http://192.168.1.5:5000 < key.txt
    """
    field = name.replace("-", "_")
    if field not in KEY_VARIABLES:
        if value is None or url or in_file:
            raise click.UsageError(f"tabbyapi config set {name} VALUE: no more, and no less")
        store(field, value_of(field, value, "VALUE"))
        _tell_if_overruled(field)
        return
    if value is not None:
        raise click.UsageError(
            f"a key on the command line stays in the shell's history and shows in the list of "
            f"processes: give {name} alone to be asked for it, or put it on standard input"
        )
    server = _server_of_keys(url)
    place = store_key(server, _key_name(field), _asked_for(name, server), in_file=in_file)
    where = "the keyring" if place == "keyring" else str(keys_path())
    warn(f"The {name} of {server} is kept in {where}.")


@config.command()
@_name
@_url
def unset(name: str, url: str | None) -> None:
    """Take NAME out of the config file, or drop a key.

    \b
    tabbyapi config unset temperature
    tabbyapi config unset api-key
    """
    field = name.replace("-", "_")
    if field in KEY_VARIABLES:
        gone = forget_key(_server_of_keys(url), _key_name(field))
    else:
        gone = remove(field)
    if not gone:
        warn(f"{name} was not set.")


def _setting(name: str) -> dict[str, Any]:
    found = find(name)
    if found is None:
        return {"value": None, "origin": None}
    return {"value": found.value, "origin": found.origin}


def _key(server: str, name: str) -> dict[str, Any]:
    """What may be told of a key: that it is there."""
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


def _server_of_keys(url: str | None) -> str:
    from .._protocol.endpoint import DEFAULT_URL, normalised_url

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

    Keys(key, None, None)  # says so now if no header can carry it
    return key


def _tell_if_overruled(name: str) -> None:
    if os.environ.get(SETTINGS[name]):
        warn(f"{SETTINGS[name]} is set in the environment, and goes before the config file.")
