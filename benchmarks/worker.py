"""One client in a process of its own: `python -m benchmarks.worker '{"peer": ..., ...}'`.

Prints the figures as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

from .peers import PEERS
from .sizes import Sizes

__all__ = ["main"]


def _run(work: Coroutine[Any, Any, dict[str, float]], on_uvloop: bool) -> dict[str, float]:
    if on_uvloop:
        import uvloop

        return uvloop.run(work)
    return asyncio.run(work)


def main(job: dict[str, Any]) -> dict[str, float]:
    sizes = Sizes(*job["sizes"])
    if job["what"] == "parser":
        from . import measure_parser

        return measure_parser.measure(sizes)
    peer, urls = PEERS[job["peer"]], job["urls"]
    if peer.kind == "sync":
        from . import measure_sync

        return measure_sync.measure(peer, urls, sizes)
    from . import measure_async

    return _run(getattr(measure_async, job["what"])(peer, urls, sizes), peer.uvloop)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
