"""A client that leaves ends the work for it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tabbyapi.server.errors import ClientGone
from tabbyapi.server.http.sse import unless_gone


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _cancelling() -> int:
    """How many cancellations are pending, once they have had time to arrive."""
    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def _left() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def test_the_work_is_cancelled_when_its_client_leaves() -> None:
    async def scenario() -> None:
        with pytest.raises(ClientGone):
            await unless_gone(_left, _never())
        assert await _cancelling() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("later", range(4))
def test_a_client_that_leaves_as_the_work_ends_cancels_nothing_after_it(later: int) -> None:
    async def scenario() -> None:
        moment = asyncio.get_running_loop().create_future()

        async def receive() -> dict[str, Any]:
            await moment
            return {"type": "http.disconnect"}

        async def work() -> str:
            for _ in range(later):
                await asyncio.sleep(0)
            await moment
            return "done"

        asyncio.get_running_loop().call_later(0.01, moment.set_result, None)
        with contextlib.suppress(ClientGone):
            assert await unless_gone(receive, work()) == "done"
        assert await _cancelling() == 0

    asyncio.run(scenario())


def test_what_the_work_raises_is_raised_and_a_cancelled_request_stays_cancelled() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="no"):
            await unless_gone(lambda: asyncio.sleep(9), fails())  # type: ignore[arg-type,return-value]
        request = asyncio.create_task(unless_gone(lambda: asyncio.sleep(9), _never()))  # type: ignore[arg-type,return-value]
        await asyncio.sleep(0.01)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(scenario())
