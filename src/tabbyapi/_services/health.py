"""The server's health: `GET /health`."""

from __future__ import annotations

import msgspec

from .._protocol.call import Call
from .._protocol.decode import Decoder, JSONError
from ..types.services import HealthIssue, HealthStatus
from .caller import AsyncService, Service, TimeoutLike

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
    """Health of the server. `client.health`. Needs no key.

    if not client.health.check().healthy: ...
    """

    def check(self, *, timeout: TimeoutLike = None) -> HealthStatus:
        """Ask for the server's health: `GET /health`. Bad health is an answer, not an error.

        Raises:
            RequestError: no answer, or one of something that is no TabbyAPI server.
        """
        return self._client.send(_check_call(timeout))


class AsyncHealth(AsyncService):
    """Health of the server. `client.health` of an `AsyncClient`."""

    async def check(self, *, timeout: TimeoutLike = None) -> HealthStatus:
        """Ask for the server's health; see `Health.check`."""
        return await self._client.send(_check_call(timeout))
