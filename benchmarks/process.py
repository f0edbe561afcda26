"""What a process costs: its CPU time and its memory."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Cost", "cpu_of", "memory"]

_STATM = Path("/proc/self/statm")


class Cost:
    """Seconds of CPU, all threads, user and system; filled in when the block ends."""

    seconds = 0.0

    def per(self, count: int) -> float:
        """Microseconds for each of `count` things."""
        return self.seconds / count * 1e6


@contextmanager
def cpu_of() -> Iterator[Cost]:
    """Measures the CPU time of a block, from a clean heap and with the collector on."""
    gc.collect()
    cost = Cost()
    before = time.process_time()
    yield cost
    cost.seconds = time.process_time() - before


def memory() -> int:
    """Bytes of memory resident now; where that is not known, the most that ever were."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
