"""How many threads the engine computes with, and how long they wait for each other.

All threads of a layer wait until the slowest has done its part. While they spin, they keep a core
that another program may need; when that program takes the core of one thread, all wait for it,
spinning. So with llama.cpp's defaults every core is the best choice on an idle machine, and by far
the worst beside another busy program. A short spin, then sleep, is nearly as fast on the idle one
and does not collapse beside the other: a thread that was pushed aside gets the core that its
siblings have left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["auto_threads", "bounded_spinning"]

_SPINS = "2000"  # some microseconds: the longest that threads of one layer differ when undisturbed


def auto_threads() -> int:
    """Threads for this machine: a thread for each physical core that this process may use.

    A container's CPU quota counts. Off Linux, where spinning cannot be bounded, one core is left
    to the rest of the machine.
    """
    if not sys.platform.startswith("linux"):
        return max(1, (os.cpu_count() or 2) - 1)
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota()))


def bounded_spinning(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment in which GNU OpenMP's threads sleep after a short spin.

    Args:
        environment: that of the user, who may have said how threads wait; then it stays so.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        return {}
    return {"GOMP_SPINCOUNT": _SPINS}


def _siblings(cpu: int) -> str:
    """The hardware threads of the core that this one belongs to."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return topology.read_text()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """CPUs that the control group of this process may keep busy, rounded up."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no control group, or "max"
        return sys.maxsize
