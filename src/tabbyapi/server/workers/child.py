"""The child's side of a worker: reads jobs, writes answers, within limits of time and memory.

A frame is a length (4 bytes, little-endian) and so many bytes. The first frame out is empty and
says that everything is imported; after it, each frame in is a job and each frame out its answer.
The process ends when its stdin closes.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

__all__ = ["LENGTH", "run"]

LENGTH = struct.Struct("<I")


def run(work: Callable[[bytes], bytes]) -> None:
    """Answer jobs until stdin closes. `sys.argv` has the limits: seconds a job, bytes of memory.

    Reaching a limit ends the process, which its parent notices: time by SIGPROF, memory in
    whatever way the library that ran out of it fails.
    """
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    jobs = os.fdopen(os.dup(0), "rb")
    _limit_memory(memory)
    _write(answers, b"")
    with suppress(BrokenPipeError):
        while head := jobs.read(LENGTH.size):
            job = jobs.read(*LENGTH.unpack(head))
            _limit_time(seconds)
            try:
                answer = work(job)
            except MemoryError:
                # Not only this job may be the cause: what is cached goes with the process.
                os._exit(1)
            _limit_time(0)
            _write(answers, answer)


def _write(answers: BinaryIO, data: bytes) -> None:
    answers.write(LENGTH.pack(len(data)) + data)
    answers.flush()


def _limit_memory(most: int) -> None:
    """Bound the address space where the system can (not on Windows; macOS may ignore it)."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _limit_time(seconds: float) -> None:
    """End this process by SIGPROF after so much time on the CPU; 0 takes the limit off."""
    if hasattr(signal, "setitimer"):  # not on Windows, where the parent's deadline has to do
        signal.setitimer(signal.ITIMER_PROF, seconds)
