"""Batches: files of requests, answered line by line by `run_batch`. Built on `AsyncClient`.

`lines` reads a line as a call, `journal` keeps the results on disk, `recovery` waits for a server
that is away, `run` brings them together.
"""

from __future__ import annotations

from .journal import JournalError
from .lines import Defaults
from .recovery import ServerGone
from .run import BatchTotals, count_lines, run_batch

__all__ = ["BatchTotals", "Defaults", "JournalError", "ServerGone", "count_lines", "run_batch"]
