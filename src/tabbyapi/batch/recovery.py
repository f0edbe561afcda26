"""Wait for a server that went away: one task polls it, all workers wait for that task.

States: no outage (`_waiting` is None or done), or waiting. The first worker that sees the server
away starts the task; it ends when the server can be used again, or with `ServerGone`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .._client.aio import AsyncClient
from ..errors import APIError, ModelNotLoadedError, RequestError, TabbyError

__all__ = ["Outage", "ServerGone"]

_FIRST_PAUSE, _LONGEST_PAUSE, _PATIENCE = 0.25, 5.0, 10.0


class ServerGone(RequestError):
    """The server did not come back in time. The lines without an answer are still to be done."""

    code = "server_gone"


class Outage:
    """An outage of the server that several workers wait for.

    Args:
        client: polls the server.
        limit: most seconds to wait.
        say: called with a message when waiting begins and ends.
    """

    def __init__(self, client: AsyncClient, limit: float, say: Callable[[str], None]) -> None:
        self._client = client
        self._limit = limit
        self._say = say
        self._waiting: asyncio.Task[None] | None = None

    async def over(self, error: TabbyError, *, embeddings: bool = False) -> None:
        """Wait until the server can be used again.

        Args:
            error: the error that showed that it cannot.
            embeddings: True if the embedding model is needed.

        Raises:
            ServerGone: it could not be used within the limit.
        """
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._wait(error, embeddings))
        # Shielded: one worker that is cancelled must not take the wait from the others.
        await asyncio.shield(self._waiting)

    async def stop(self) -> None:
        """Stop waiting."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

    async def _wait(self, error: TabbyError, embeddings: bool) -> None:
        began = time.monotonic()
        pause, told = _FIRST_PAUSE, False
        while True:
            await asyncio.sleep(pause)
            still = await self._trouble(error, embeddings)
            waited = time.monotonic() - began
            if still is None:
                if told:
                    self._say(f"The server is back after {waited:.0f} s.")
                return
            if waited >= self._limit:
                raise ServerGone(
                    f"{_what(still)}, and did not change that within {self._limit:.0f} s: {still}"
                )
            if not told:
                self._say(f"{_what(still)}: waiting up to {self._limit:.0f} s for it.")
                told = True
            pause = min(pause * 2, _LONGEST_PAUSE, max(self._limit - waited, 0.05))

    async def _trouble(self, error: TabbyError, embeddings: bool) -> TabbyError | None:
        """Why the server cannot be used; None if it can."""
        try:
            if isinstance(error, ModelNotLoadedError):
                models = self._client.models
                await (models.get_embedding if embeddings else models.get)(timeout=_PATIENCE)
            else:
                await self._client.health.check(timeout=_PATIENCE)
        except (RequestError, ModelNotLoadedError) as still:
            return still
        except APIError:
            return None  # it answers; the next request gets the error
        return None


def _what(error: TabbyError) -> str:
    if isinstance(error, ModelNotLoadedError):
        return "The server has no model loaded"
    return "The server does not answer"
