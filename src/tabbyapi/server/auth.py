"""Keys: who may call what.

Two classes of guarded route read different headers, and the permission level is computed by a
third rule; the oddities of the real server are kept, since clients are written against them.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from .errors import HTTPError
from .paths import data_folder
from .settings import Settings

__all__ = ["Access", "Keys", "check_access", "load_keys", "permission"]


class Access(Enum):
    """The class of a route."""

    OPEN = "open"
    API = "API"
    ADMIN = "admin"


@dataclass(frozen=True)
class Keys:
    """The keys in force; not `enabled` means that nobody is asked for one."""

    api: tuple[str, ...] = field(default=(), repr=False)
    admin: str = field(default="", repr=False)
    enabled: bool = True

    def level(self, key: str) -> Literal["admin", "api"] | None:
        """What this key allows; None if it is not one of ours."""
        given = key.encode()
        if self.admin and hmac.compare_digest(given, self.admin.encode()):
            return "admin"
        # Every key is compared, so that time says nothing about which one is near.
        hits = [hmac.compare_digest(given, api.encode()) for api in self.api]
        return "api" if any(hits) else None


def check_access(access: Access, headers: Mapping[str, str], keys: Keys) -> None:
    """Raise `HTTPError` (401) unless the headers open a route of this class."""
    if access is Access.OPEN or not keys.enabled:
        return
    name = "x-api-key" if access is Access.API else "x-admin-key"
    wanted = "an API key" if access is Access.API else "an admin key"
    invalid = HTTPError(401, f"Invalid {access.value} key")
    key = headers.get(name)
    if not key:
        authorization = headers.get("authorization")
        if not authorization:
            raise HTTPError(401, f"Please provide {wanted}")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key or " " in key:
            raise invalid
    level = keys.level(key)
    if level is None or (access is Access.ADMIN and level != "admin"):
        raise invalid


def permission(headers: Mapping[str, str], keys: Keys) -> Literal["admin", "api"] | None:
    """The permission level: the first header *present* decides, an empty one too.

    None means that this header holds no key of ours, which another header may have hidden
    from `check_access`.
    """
    if not keys.enabled:
        return "admin"
    for name in ("x-admin-key", "x-api-key", "authorization"):
        value = headers.get(name)
        if value is not None:
            return keys.level(value.partition(" ")[2] if name == "authorization" else value)
    return None


def load_keys(settings: Settings) -> Keys:
    """The keys of the settings, or generated ones, kept in a file only its owner can read."""
    if not settings.auth:
        return Keys(enabled=False)
    if settings.api_keys or settings.admin_key:
        return Keys(settings.api_keys, settings.admin_key)
    path = settings.keys_file or data_folder() / "keys.json"
    try:
        kept = json.loads(path.read_text())
        return Keys((str(kept["api_key"]),), str(kept["admin_key"]))
    except FileNotFoundError:
        return _generate(path)
    except (ValueError, KeyError, TypeError):
        raise SystemExit(
            f"{path} is not a key file: delete it to have new keys generated, or give your own."
        ) from None


def _generate(path: Path) -> Keys:
    keys = Keys((secrets.token_hex(16),), secrets.token_hex(16))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"api_key": keys.api[0], "admin_key": keys.admin}, file, indent=2)
    return keys
