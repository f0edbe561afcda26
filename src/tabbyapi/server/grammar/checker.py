"""Checks grammars in a process of its own, which is ended if one takes too long.

The engine drops a grammar that it cannot read without a word, and would hang in one that blows
up; so each is compiled here first, by the same library.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass

from ..errors import HTTPError

__all__ = ["Grammar", "GrammarChecker"]

_SECONDS = 2.0
_REMEMBERED = 256
_TOO_LARGE = "checking it takes too much memory"


@dataclass(frozen=True)
class Grammar:
    """A grammar as the engine takes it, and the field of the request that it comes from."""

    text: str
    field: str


class GrammarChecker:
    """Starts its process when first asked, and again after it was ended."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._known: OrderedDict[str, str] = OrderedDict()

    async def check(self, grammar: Grammar) -> None:
        """Raise `HTTPError` (400) for a grammar that cannot be enforced."""
        async with self._turn:
            problem = self._known.get(grammar.text)
            if problem is None:
                problem, lasting = await self._ask(grammar.text)
                if lasting:
                    self._known[grammar.text] = problem
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            else:
                self._known.move_to_end(grammar.text)
        if problem:
            raise HTTPError(400, f"{grammar.field} cannot be enforced: {problem}")

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()
            # asyncio leaves the pipes' transports to the garbage collector otherwise.
            process._transport.close()  # type: ignore[attr-defined]

    async def _ask(self, grammar: str) -> tuple[str, bool]:
        """What is wrong with the grammar, "" if nothing, and whether it is bound to stay so."""
        if self._process is not None and self._process.returncode is not None:
            await self.close()  # it was killed by somebody else
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        answered = False
        try:
            process.stdin.write(json.dumps(grammar).encode() + b"\n")
            async with asyncio.timeout(_SECONDS):
                await process.stdin.drain()
                line = await process.stdout.readline()
            answered = bool(line)
            return (str(json.loads(line)), True) if line else (_TOO_LARGE, True)
        except TimeoutError:  # perhaps only because the machine is busy
            return f"checking it takes more than {_SECONDS:g} s", False
        except (BrokenPipeError, ConnectionResetError, RuntimeError):  # the last is uvloop's
            return _TOO_LARGE, False
        finally:
            if not answered:  # a late answer would be taken for the next one's
                await self.close()

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tabbyapi.server.grammar.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        await process.stdout.readline()  # it says when it is ready, which takes no part of the time
        return process
