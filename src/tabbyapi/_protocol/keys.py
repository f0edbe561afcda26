"""The key header of a request, by the class of its route.

TabbyAPI reads `X-Api-Key` only on API routes and `X-Admin-Key` only on admin routes, and fails
on spare or empty ones: a request carries exactly one key header, or none.
"""

from __future__ import annotations

from ..errors import ValidationError
from .call import Auth

__all__ = ["Keys"]


class Keys:
    """The client's keys. They show in no repr and cannot be pickled by accident."""

    __slots__ = ("_headers",)

    def __init__(
        self, api_key: str | None, admin_key: str | None, bearer_token: str | None
    ) -> None:
        api = _checked("api_key", api_key)
        admin = _checked("admin_key", admin_key)
        bearer = _checked("bearer_token", bearer_token)
        by_bearer = {"Authorization": f"Bearer {bearer}"} if bearer else {}

        # The admin key is valid wherever an API key is.
        for_api = {"X-Api-Key": api} if api else by_bearer
        if not for_api and admin:
            for_api = {"X-Api-Key": admin}

        for_admin = {"X-Admin-Key": admin} if admin else by_bearer
        if not for_admin and api:  # it may be the admin key: let the server judge
            for_admin = {"Authorization": f"Bearer {api}"}

        self._headers: dict[Auth, dict[str, str]] = {
            "open": {},
            "api": for_api,
            # Lists show everything to an admin and only what is loaded to an API key.
            "listing": {"X-Api-Key": admin} if admin else for_api,
            "admin": for_admin,
        }

    def headers(self, auth: Auth) -> dict[str, str]:
        """The key header for a route of this class; empty if there is no key for it."""
        return self._headers[auth]

    def __repr__(self) -> str:
        return "Keys(...)"

    def __reduce__(self) -> str:
        raise TypeError("keys are not pickled; make a new client in the other process")


def _checked(name: str, key: str | None) -> str | None:
    """The key, None if it is absent or empty.

    Raises:
        ValidationError: it cannot be sent as a header.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise ValidationError(f"{name} must be a string, not {type(key).__name__}", field=name)
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValidationError(
            f"{name} holds characters that no header can carry (spaces, line breaks or "
            "non-ASCII); was more than the key copied?",
            field=name,
        )
    return key or None
