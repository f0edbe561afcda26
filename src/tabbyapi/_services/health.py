"""The server's health: `GET /health`."""

from __future__ import annotations

import msgspec

from .._protocol.call import Call
from .._protocol.decode import Decoder, JSONError
from ..types.health import HealthIssue, HealthStatus
from .caller import AsyncService, Service
from .common import TimeoutLike

__all__ = ["AsyncHealth", "Health"]


class _Answer(msgspec.Struct):
    status: str | None = None
    issues: list[HealthIssue] | None = None
    health: str | None = None  # so YALS says it: "ok"


_answer = Decoder(_Answer)


def _decode(body: bytes) -> HealthStatus:
    answer = _answer(body)
    status = answer.status or {"ok": "healthy"}.get(answer.health or "", answer.health)
    if status is None:
        raise JSONError("it has no status")
    return HealthStatus(status, answer.issues or [])


def _check_call(timeout: TimeoutLike) -> Call[HealthStatus]:
    return Call(
        method="GET",
        path="/health",
        decode=_decode,
        auth="open",
        accept=(503,),  # unhealthy is an answer
        timeout=timeout,
    )


class Health(Service):
    """Whether the server works. `client.health`. Needs no key."""

    def check(self, *, timeout: TimeoutLike = None) -> HealthStatus:
        """The server's health. That it is bad is an answer too, not an error.

        Raises:
            RequestError: nobody answered, or something that is no TabbyAPI server.
        """
        return self._client.send(_check_call(timeout))


class AsyncHealth(AsyncService):
    """Whether the server works. `client.health` of an `AsyncClient`."""

    async def check(self, *, timeout: TimeoutLike = None) -> HealthStatus:
        """The server's health; see `Health.check`."""
        return await self._client.send(_check_call(timeout))
