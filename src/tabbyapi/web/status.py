"""What is known of the server: whether it answers, its model, and what the keys allow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ModelNotLoadedError, TabbyError
from .words import sentence

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from ..types.models import ModelCard
    from ..types.services import HealthStatus

__all__ = ["ServerStatus"]

_PERIOD = 10.0  # seconds between looks at the server, while a page is open
_PATIENCE = 5.0


class ServerStatus:
    """The server's state as it was a moment ago.

    Attributes:
        url: its address.
        problem: why nothing is known, in a sentence; "" if the server answers.
        model: the loaded model, None if there is none.
        health: what the server says of itself.
        is_admin: True if the page has an admin key.
        listeners: called after each look at the server.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.url: str = client.base_url
        self.problem: str = ""
        self.model: ModelCard | None = None
        self.health: HealthStatus | None = None
        self.is_admin: bool = False
        self.listeners: set[Callable[[], None]] = set()
        self._looking = asyncio.Lock()
        self._asked_at = float("-inf")

    @property
    def model_name(self) -> str:
        """Name of the loaded model, "" if there is none."""
        return self.model.id if self.model else ""

    @property
    def context(self) -> int | None:
        """The model's context in tokens, None if it is not known."""
        parameters = self.model.parameters if self.model else None
        return parameters.max_seq_len if parameters else None

    @property
    def sees_images(self) -> bool:
        """True if the model takes images."""
        parameters = self.model.parameters if self.model else None
        return bool(parameters and parameters.use_vision)

    async def refresh(self, max_age: float = 0.0) -> None:
        """Ask the server, and tell the listeners.

        Args:
            max_age: do not ask if that was done within so many seconds.
        """
        async with self._looking:
            if time.monotonic() - self._asked_at > max_age:
                try:
                    await self._ask()
                except TabbyError as error:
                    self.problem = sentence(error, self.url)
                self._asked_at = time.monotonic()
        for listener in list(self.listeners):
            listener()

    async def _ask(self) -> None:
        client = self._client
        self.health = await client.health.check(timeout=_PATIENCE)
        self.is_admin = await client.auth.permission(timeout=_PATIENCE) == "admin"
        try:
            self.model = await client.models.get(timeout=_PATIENCE)
        except ModelNotLoadedError:
            self.model = None
        self.problem = ""

    async def watch(self) -> None:
        """Refresh for ever, while there are listeners."""
        while True:
            if self.listeners:
                await self.refresh()
            await asyncio.sleep(_PERIOD)
