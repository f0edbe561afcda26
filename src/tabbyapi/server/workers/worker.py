"""The parent's side of a worker: a child process that answers one job at a time.

States of a `Worker`, which only the holder of its turn changes (`close` apart):

- *absent*: there is no process. The next job, or `start`, starts one.
- *idle*: the process waits for a job and owes no answer.
- *busy*: the process works on the job of the turn's holder.
- *closed*: for good.

Invariant: a process that owes an answer is ended before the turn is passed on, or a late answer
would be taken for the next job's. So a job that is cancelled, or takes too long, costs the process,
and the next job a start (about 0.1 s).

A process that is found dead may have been killed while it was idle, or by an earlier job's
leftovers: the job is then tried once more, on a fresh one. One that dies on a fresh process is
its own cause.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .child import LENGTH
from .turns import Turns

__all__ = ["LimitExceeded", "Worker", "WorkerUnavailable"]

_START_SECONDS = 30.0
_CLOCK_PER_CPU = 3.0  # how much longer than its CPU time a job may take on a busy machine
_QUEUE_SECONDS = 15.0  # that a job may wait for its turn
_LONGEST_ANSWER = 1 << 27  # bytes
_HAS_TIMER = hasattr(signal, "setitimer")
_OUT_OF_TIME = -signal.SIGPROF if _HAS_TIMER else "no status"


class LimitExceeded(Exception):
    """A job ended its process; the message says which limit it reached.

    `lasting` tells whether it would do so again, however idle the machine is.
    """

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


class WorkerUnavailable(Exception):
    """No job could be done just now; the message says why."""


class Worker:
    """A child process for jobs of one kind. `start` is optional; `close` it in the end.

    Args:
        module: what the process runs, `python -m module`; it calls `child.run`.
        seconds: CPU time a job may take (on Windows: time).
        memory: bytes of address space the process may have (where the system has such a limit).
    """

    def __init__(self, module: str, *, seconds: float, memory: int) -> None:
        self._command = (sys.executable, "-m", module, str(seconds), str(memory))
        self._seconds = seconds
        self._deadline = seconds * _CLOCK_PER_CPU if _HAS_TIMER else seconds
        self._turns = Turns()
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the process ahead of the first job. Raises `WorkerUnavailable`."""
        async with self._turns.turn(0):
            if self._process is None:
                await self._start()

    async def close(self) -> None:
        """End the process; a job in progress fails with `WorkerUnavailable`."""
        self._closed = True
        await self._end()

    async def ask(self, job: bytes) -> bytes:
        """The answer to a job. Raises `LimitExceeded`, `WorkerUnavailable`."""
        async with self.turn(len(job)):
            return await self.run(job)

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait for the right to `run` a job of this size, in bytes. Raises `WorkerUnavailable`."""
        try:
            async with asyncio.timeout(_QUEUE_SECONDS) as patience, self._turns.turn(size):
                patience.reschedule(None)
                yield
        except TimeoutError:
            raise WorkerUnavailable("too many requests wait for the same work") from None

    async def run(self, job: bytes) -> bytes:
        """The answer to a job, for the holder of the turn. Raises as `ask` does."""
        while True:
            fresh = self._process is None
            process = self._process or await self._start()
            answered = False
            try:
                async with asyncio.timeout(self._deadline):
                    answer = await _exchange(process, job)
                answered = True
                return answer
            except TimeoutError:
                raise LimitExceeded(self._too_long(), lasting=False) from None
            except (asyncio.IncompleteReadError, OSError, RuntimeError):  # the last is uvloop's
                if await self._end() == _OUT_OF_TIME:
                    raise LimitExceeded(self._too_long(), lasting=True) from None
                if self._closed:
                    raise WorkerUnavailable("the server is stopping") from None
                if fresh:
                    raise LimitExceeded("it takes too much memory", lasting=True) from None
            finally:
                if not answered:
                    await self._end()

    def _too_long(self) -> str:
        return f"it takes more than {self._seconds:g} s"

    async def _start(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise WorkerUnavailable("the server is stopping")
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is for the server to act on
            )
            async with asyncio.timeout(_START_SECONDS):
                await _read(process)
        except BaseException as error:
            await self._end()
            if self._closed:
                raise WorkerUnavailable("the server is stopping") from None
            if isinstance(error, (OSError, asyncio.IncompleteReadError)):  # also TimeoutError
                raise WorkerUnavailable(f"a process could not be started ({error})") from None
            raise
        return process

    async def _end(self) -> int | None:
        """End the process; its status, or None if there was none."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.returncode is None:
            process.kill()
        status = await process.wait()
        # asyncio leaves the pipes' transports to the garbage collector otherwise.
        process._transport.close()  # type: ignore[attr-defined]
        return status


async def _exchange(process: asyncio.subprocess.Process, job: bytes) -> bytes:
    assert process.stdin is not None
    process.stdin.write(LENGTH.pack(len(job)) + job)
    await process.stdin.drain()
    return await _read(process)


async def _read(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > _LONGEST_ANSWER:
        raise RuntimeError("a worker's answer is too long")
    return await process.stdout.readexactly(length)
