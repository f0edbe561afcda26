"""Files of requests, answered line by line: `run_batch`. Built on `AsyncClient`.

`asks` reads what a line wants, `journal` keeps the results on disk, `outage` waits for a server
that has gone, `run` brings them together.
"""

from __future__ import annotations

from .journal import JournalError
from .lines import Defaults
from .recovery import ServerGone
from .run import BatchTotals, count_lines, run_batch

__all__ = ["BatchTotals", "Defaults", "JournalError", "ServerGone", "count_lines", "run_batch"]
