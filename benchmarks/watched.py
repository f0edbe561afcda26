"""What other processes cost, and which process is the engine of a server (Linux)."""

from __future__ import annotations

import resource
import time
from pathlib import Path

__all__ = ["child_of", "cpu_of_process", "memory_of_process"]

_PROC = Path("/proc")
_WHOLE_PROCESS = 2  # the kernel's CPUCLOCK_SCHED: all threads, those that have ended as well


def cpu_of_process(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    return time.clock_gettime((~pid << 3) | _WHOLE_PROCESS)  # what clock_getcpuclockid(3) gives


def memory_of_process(pid: int) -> int:
    """Bytes of memory resident now."""
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * resource.getpagesize()


def child_of(pid: int, module: str) -> int:
    """The child that runs a Python module."""
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and module.encode() in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue  # it has ended meanwhile
    raise RuntimeError(f"process {pid} has no child that runs {module}")
