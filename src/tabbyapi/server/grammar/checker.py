"""Checks grammars in a child process, which is ended if one takes too long.

The engine drops a grammar that it cannot read without a word, and would hang in one that blows
up; so each is compiled here first, by the same library. What was found is remembered. Small
grammars do not wait for large ones, which have a process of their own.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from math import inf

from ..errors import HTTPError, busy
from ..workers.worker import LimitExceeded, Worker, WorkerUnavailable

__all__ = ["Grammar", "GrammarChecker"]

_SECONDS = 2.0  # of CPU time
_SECONDS_OF_SMALL = 1.0
_MEMORY = 1 << 30  # bytes of addresses, of which libraries take their part
_SMALL = 16 * 1024  # bytes
_REMEMBERED = 1024
_REMEMBERED_SECONDS = 60.0  # of one that failed because the machine was busy, perhaps


@dataclass(frozen=True)
class Grammar:
    """A grammar as the engine takes it, and the field of the request that it comes from."""

    text: str
    field: str


class GrammarChecker:
    """Says whether grammars can be enforced. Its processes start when first asked."""

    def __init__(self) -> None:
        module = "tabbyapi.server.grammar.child"
        self._small = Worker(module, seconds=_SECONDS_OF_SMALL, memory=_MEMORY)
        self._large = Worker(module, seconds=_SECONDS, memory=_MEMORY)
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    async def check(self, grammar: Grammar) -> None:
        """Raise `HTTPError`: 400 if it cannot be enforced, 503 if it cannot be checked now."""
        job = grammar.text.encode()
        digest = hashlib.blake2b(job).digest()
        problem = self._recalled(digest)
        if problem is None:
            worker = self._small if len(job) <= _SMALL else self._large
            try:
                async with worker.turn(len(job)):
                    # The same one may have been checked in the meantime.
                    problem = self._recalled(digest)
                    if problem is None:
                        problem = await self._ask(worker, job, digest)
            except WorkerUnavailable as error:
                raise busy(f"{grammar.field} was not checked, {error}") from None
        if problem:
            raise HTTPError(400, f"{grammar.field} cannot be enforced: {problem}")

    async def close(self) -> None:
        """End the processes."""
        await self._small.close()
        await self._large.close()

    async def _ask(self, worker: Worker, job: bytes, digest: bytes) -> str:
        until = inf
        try:
            problem = (await worker.run(job)).decode()
        except LimitExceeded as error:
            problem = f"checking it: {error}"
            if not error.lasting:
                until = time.monotonic() + _REMEMBERED_SECONDS
        self._known[digest] = problem, until
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return problem

    def _recalled(self, digest: bytes) -> str | None:
        """What is wrong with a grammar, "" if nothing, None if that is not known."""
        problem, until = self._known.get(digest, ("", 0.0))
        if time.monotonic() > until:
            return None
        self._known.move_to_end(digest)
        return problem
