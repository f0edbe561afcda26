"""Downloads from a hub that speaks Hugging Face's API, with `huggingface_hub` (extra `hub`).

A download runs in a child process, `python -m tabbyapi.server.model_files.hub` with one JSON line
on stdin, because a thread that downloads cannot be ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

__all__ = ["HubError", "download"]

_MISSING = "Downloads need another package: pip install 'py-tabbyapi[hub]'"


class HubError(Exception):
    """A download that failed; the message says why."""


async def download(options: dict[str, Any], *, timeout: float | None = None) -> None:
    """Download a repository. `options` are those of `huggingface_hub.snapshot_download`.

    Cancelling ends the download. Raises `HubError`.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tabbyapi.server.model_files.hub"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        # The token goes through the pipe, where no list of processes shows it.
        line = json.dumps(options).encode() + b"\n"
        said, _ = await asyncio.wait_for(process.communicate(line), timeout)
    except TimeoutError:
        raise HubError(f"the download took more than {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        reason = said.decode(errors="replace").strip()
        raise HubError(reason or f"the download ended with status {process.returncode}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


def main() -> None:
    """Entry of the process that downloads. The status is 1 after a failure, told on stdout."""
    options = json.loads(sys.stdin.readline())
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        print(_MISSING)
        raise SystemExit(1) from None
    try:
        snapshot_download(**options)
    except Exception as error:
        print(_first_line(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
