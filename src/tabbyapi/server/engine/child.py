"""The engine's process: loads one model and serves llama.cpp's native API until stdin closes.

Run as `python -m tabbyapi.server.engine.child`, with one JSON line of parameters on stdin. It is
a process of its own because loading holds the GIL throughout and because a broken model file can
abort it. One JSON line on stdout says how the load went; llama.cpp's log goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import Any

PREFIX = "engine-state:"
"""Marks our lines on stdout, where llama.cpp may write too."""


def _say(**state: object) -> None:
    sys.stdout.write(PREFIX + json.dumps(state) + "\n")
    sys.stdout.flush()


def _set(target: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _set(getattr(target, name), value)
        else:
            setattr(target, name, value)


def main() -> None:
    """Load, report, and wait for the parent to close our stdin, which it does by dying too."""
    parameters = json.loads(sys.stdin.readline())
    try:
        import xllamacpp
    except ImportError as error:
        _say(failed=f"the engine cannot be imported: {error}", kind="import")
        raise SystemExit(1) from None
    common = xllamacpp.CommonParams()
    draft = parameters.pop("draft_model", "")
    adapters, folder = parameters.pop("lora_adapters", []), parameters.pop("folder")
    _set(common, parameters)
    if draft:
        speculative = common.speculative
        speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        _set(
            speculative.draft,
            {
                "mparams": {"path": draft},
                "cpuparams": parameters["cpuparams"],
                "cpuparams_batch": parameters["cpuparams_batch"],
            },
        )
        common.speculative = speculative
    if adapters:
        common.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(a["path"], a["scale"]) for a in adapters
        ]
    try:
        server = xllamacpp.Server(common)
    except Exception as error:
        _say(failed=str(error) or type(error).__name__)
        # Not sys.exit: destroying a half-made engine can hang.
        os._exit(1)
    with contextlib.suppress(BrokenPipeError):  # of a parent that was killed
        _say(ready=True, address=server.listening_address)
    while sys.stdin.readline():
        pass
    # The parent does it too, unless it was killed.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
