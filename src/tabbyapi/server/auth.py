"""Keys: who may call what.

Two classes of guarded route read different headers, and the permission level is computed by a
third rule; the oddities of the real server are kept, since clients are written against them.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from .._files import replace_file
from .._folders import data_folder
from .errors import HTTPError
from .settings import Settings

__all__ = ["Access", "Keys", "check_access", "load_keys", "permission"]

log = logging.getLogger("tabbyapi.server")


class Access(Enum):
    """The class of a route."""

    OPEN = "open"
    API = "API"
    ADMIN = "admin"


@dataclass(frozen=True)
class Keys:
    """The keys in force; without `enabled`, requests need none."""

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
        for key in (*settings.api_keys, settings.admin_key or "none"):
            if not _is_key(key):
                raise SystemExit("A key must be text without spaces, line breaks and the like.")
        return Keys(settings.api_keys, settings.admin_key)
    path = settings.keys_file or data_folder() / "keys.json"
    try:
        return _read(path)
    except FileNotFoundError:
        return _generate(path)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SystemExit(
            f"{path} is not a key file: delete it to have new keys generated, or give your own."
        ) from None


def _is_key(value: object) -> bool:
    """True if a header can carry it: visible characters, at least one."""
    return isinstance(value, str) and value.isprintable() and bool(value) and " " not in value


def _read(path: Path) -> Keys:
    """The keys of a file; FileNotFoundError where it is missing, or empty as a full disk leaves it.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it is no key file.
    """
    text = path.read_text(encoding="utf-8")
    if not text:
        raise FileNotFoundError(path)
    kept = json.loads(text)
    api, admin = kept["api_key"], kept["admin_key"]
    if not (_is_key(api) and _is_key(admin)):
        raise ValueError("a key is no text")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        log.warning("others could read %s: it is now readable by its owner only", path)
        path.chmod(0o600)
    return Keys((api,), admin)


def _generate(path: Path) -> Keys:
    keys = Keys((secrets.token_hex(16),), secrets.token_hex(16))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"api_key": keys.api[0], "admin_key": keys.admin}, indent=2)
    replace_file(path, content, private=True)
    return keys
