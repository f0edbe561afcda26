"""The server's health, and what a key may do."""

from typing import Literal

from .base import Value

__all__ = ["AuthPermission", "HealthIssue", "HealthStatus"]


class HealthIssue(Value):
    """A failure of the engine. `time` is ISO 8601, in UTC."""

    time: str = ""
    description: str = ""


class HealthStatus(Value):
    """What `GET /health` says.

    TabbyAPI calls itself unhealthy after one failed generation and until it is restarted, even
    if it works again. Without a model it is healthy.

    Attributes:
        status: "healthy" or "unhealthy".
        issues: what went wrong, at most 100 entries.
    """

    status: str
    issues: list[HealthIssue] = []

    @property
    def healthy(self) -> bool:
        """True if no generation has failed since the server was started."""
        return self.status == "healthy"


class AuthPermission(Value):
    """The wire form of a key's permission."""

    permission: Literal["api", "admin"]
