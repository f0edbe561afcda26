"""Keys that `tabbyapi serve` made up, for clients on the same machine."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from .._folders import data_folder
from .._transport.proxy import is_loopback

__all__ = ["with_local_keys"]

_LARGEST = 65_536  # bytes of the file of keys


def with_local_keys(
    url: str, api_key: str | None, admin_key: str | None
) -> tuple[str | None, str | None]:
    """The keys to use with a server: those given, else those that `tabbyapi serve` made up.

    Both made-up keys belong to one server. A missing one is filled in if the other is missing as
    well, or is the made-up one; a key of another server is not joined by one of ours.

    Args:
        url: the server's root. Keys are filled in for servers on this machine only.
        api_key, admin_key: what was given, None where nothing was.
    """
    if (api_key and admin_key) or not is_loopback(urlsplit(url).hostname):
        return api_key, admin_key
    try:
        with (data_folder() / "keys.json").open("rb") as file:
            kept: Any = json.loads(file.read(_LARGEST))
        api, admin = kept["api_key"], kept["admin_key"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return api_key, admin_key  # there are none; a broken file is reported by the server
    ours = isinstance(api, str) and isinstance(admin, str)
    if ours and api_key in (None, "", api) and admin_key in (None, "", admin):
        return api, admin
    return api_key, admin_key
